//! Which rows are wanted: the words of a row's name, in any order; a comma begins an alternative.

/// `http veth 64, tftp` wants every row that has the words `http`, `veth` and `64`, or the word `tftp`. Nothing said is
/// everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted(Vec<Vec<String>>);

impl Wanted {
    pub(crate) fn parse(text: &str) -> Self {
        let words = |one: &str| one.split_whitespace().map(str::to_owned).collect();
        Self(text.split(',').map(words).collect())
    }

    pub(crate) fn holds(&self, row: &str) -> bool {
        let all = |words: &Vec<String>| {
            let mut words = words.iter();
            words.all(|word| row.split(' ').any(|own| own == word))
        };
        self.0.iter().any(all)
    }
}
