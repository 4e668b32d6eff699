#!/usr/bin/perl
# Reads a serial console: watch.pl SECONDS LOG PID [TARGET] <console. Keeps every line with its time in LOG, and prints the milliseconds
# from the kernel's `Run /init` to two moments, and those of processor time that PID, QEMU, took until the second:
#
# - the image's init is executed: Debian's kernel has TOMOYO, which looks for its loader when /sbin/init is started and says
#   that there is none (security/tomoyo/load_policy.c). `-` if it is not said: an initramfs that has a systemd starts the
#   image's by another name;
# - the image's init speaks: systemd's `running in system mode`, which comes before it does anything. An initramfs may have a
#   systemd of its own that says so, too: the last one before a `Welcome to` counts, other than dracut's welcome.
#
# With TARGET, `multi-user.target` say, it goes on until the image's systemd has reached that, and prints this moment, too. The
# serial line loses what systemd says there while a login takes it over, so with systemd.log_target=kmsg printk.devkmsg=on only.
use strict;
use warnings;
use IO::Handle;
use Time::HiRes qw(time);

my ($seconds, $path, $pid, $target) = @ARGV;

# Milliseconds of processor time; proc(5), fields 14 and 15, in ticks of 10 ms.
sub cpu {
    open my $stat, '<', "/proc/$pid/stat" or return 0;
    my @fields = split ' ', <$stat> =~ s/.*\) //r;
    return 10 * ($fields[11] + $fields[12]);
}

open my $log, '>', $path or die "$path: $!\n";
$log->autoflush;
alarm $seconds;
my ($start, $exec, $init, $before, $after, @moments);
while (my $line = <STDIN>) {
    my $now = time;
    $line =~ s/\e\[[0-9;?]*[A-Za-z]|[\r\n]//g;
    ($start, $before) = ($now, cpu()) if $line =~ /Run \/init as init process/;
    printf $log "%9.3f %s\n", defined $start ? $now - $start : 0, $line;
    die "the kernel gave up\n" if $line =~ /Kernel panic/;
    die "a processor hung\n" if $line =~ /soft lockup/;
    $exec = $now if $line =~ /Not activating Mandatory Access Control as .* does not exist/;
    ($init, $after) = ($now, cpu()) if $line =~ /systemd\[1\]: systemd .* running in system mode/;
    if (defined $start and $line =~ /^Welcome to / and $line !~ /dracut|Initramfs/i) {
        die "no start of systemd before its welcome\n" unless defined $init;
        my $executed = defined $exec ? sprintf('%.0f', 1000 * ($exec - $start)) : '-';
        @moments = ($executed, map { sprintf '%.0f', $_ } 1000 * ($init - $start), $after - $before);
    }
    push @moments, sprintf('%.0f', 1000 * ($now - $start)) if @moments and defined $target and $line =~ /Reached target \Q$target\E/;
    if (@moments == (defined $target ? 4 : 3)) {
        print "@moments\n";
        exit 0;
    }
}
die "the console ended before the image's init ", @moments ? "reached $target\n" : "spoke\n";
