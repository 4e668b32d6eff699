#!/usr/bin/perl
# Draws what stream.sh measured: figure.pl LINK... <target/boot/stream.results >images/running.svg. A panel for each link, a bar for
# each image size and kind of boot: the median of the seconds from `Run /init` to the first line of the image's systemd. What it
# does not find it does not draw.
use strict;
use warnings;

my @links = @ARGV or die "usage: figure.pl LINK... <stream.results\n";
my @kinds = (
    [stream => 'ramboot, streaming', '#0969da'],
    [full => 'ramboot, full', '#54aeff'],
    [nfs => 'NFS root', '#8c959f'],
    [dracut => 'dracut livenet', '#d0d7de'],
);
my %times;
while (<STDIN>) {
    my ($link, $size, $who, undef, $line) = split;
    push @{ $times{$link}{$size}{$who} }, $line / 1000;
}

sub median {
    my @sorted = sort { $a <=> $b } @_;
    return ($sorted[$#sorted / 2] + $sorted[@sorted / 2]) / 2;
}

my ($panel, $label, $bar, $step, $head) = (430, 135, 230, 19, 44);
my $rows = 0;
my @drawn;
for my $number (0 .. $#links) {
    my $found = $times{ $links[$number] } or die "nothing was measured at $links[$number]\n";
    my $left = 15 + $number * $panel;
    my $name = $links[$number] eq 'open' ? 'open link' : $links[$number] =~ /^(\d+)000$/ ? "$1 Gbit/s" : "$links[$number] Mbit/s";
    push @drawn, qq(<text class="t" x="$left" y="28" font-weight="600">$name</text>);
    my %median = map { my $size = $_; map { ("$size $_" => median(@{ $found->{$size}{$_} })) } keys %{ $found->{$size} } } keys %$found;
    my ($most) = sort { $b <=> $a } values %median;
    my $row = 0;
    for my $size (sort { $a <=> $b } keys %$found) {
        $row += 0.4 if $row;
        my $text = $size < 1000 ? "$size MB" : $size / 1000 . ' GB';
        my $y = $head + $row * $step + 14;
        push @drawn, qq(<text class="t" x="$left" y="$y">an image of $text</text>);
        $row++;
        for my $kind (@kinds) {
            my ($who, $title, $colour) = @$kind;
            my $seconds = $median{"$size $who"} // next;
            my ($top, $base) = ($head + $row * $step, $head + $row * $step + 13);
            my ($x, $width) = ($left + $label, sprintf '%.1f', $bar * $seconds / $most);
            my $end = $x + $width + 6;
            my $value = $seconds < 100 ? sprintf '%.1f s', $seconds : sprintf '%.0f s', $seconds;
            push @drawn, qq(<text class="s" x="$left" y="$base">$title</text>),
                qq(<rect x="$x" y="@{[$top + 2]}" width="$width" height="14" fill="$colour"/>),
                qq(<text class="s" x="$end" y="$base">$value</text>);
            $row++;
        }
    }
    $rows = $row if $row > $rows;
}
my ($width, $height) = (@links * $panel, $head + $rows * $step + 12);
print qq(<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 $width $height" font-family="system-ui, sans-serif" font-size="14">\n);
print qq(  <style>.t { fill: #1f2328 } .s { fill: #57606a; font-size: 12px }</style>\n);
print qq(  <rect width="$width" height="$height" fill="#ffffff"/>\n);
print "  $_\n" for @drawn;
print "</svg>\n";
