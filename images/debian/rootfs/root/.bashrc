PS1='worker# '
