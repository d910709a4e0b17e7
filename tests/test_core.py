"Errors of one line, functions as commands, files written whole or not at all."
import os, signal
import pytest, torch
from resvit_nb.core import InputError, check_one_of, console_script, write_atomically

@console_script
def halve(n:int=2):   # An even number
    "Half of a number"
    if n==0: os.kill(os.getpid(), signal.SIGTERM)
    if n%2: raise InputError(f'n {n}: expected an even number')
    print(len(torch.empty(n//2, 1)))

def leaves(*argv):
    with pytest.raises(SystemExit) as left: halve.command(argv)
    return left.value.code

def test_a_command_does_what_the_function_does(capfd):
    halve.command(['--n', '8'])
    assert capfd.readouterr() == ('4\n', '')

@pytest.mark.parametrize('argv, message', [
    (('--n', '7'), 'n 7: expected an even number'),
    (('--m', '7'), 'unrecognized arguments: --m 7 (see --help)'),
    (('a\nb\x1b[2J',), r'unrecognized arguments: a\nb\x1b[2J (see --help)')])
def test_what_a_user_can_mend_is_one_line(argv, message): assert leaves(*argv) == f'halve: error: {message}'

def test_too_large_for_the_memory(): assert leaves('--n', '1000000000000000').startswith('halve: error: out of memory: ')

def test_kill_leaves_with_143_and_the_old_handler():
    before = signal.getsignal(signal.SIGTERM)
    assert leaves('--n', '0') == 143 and signal.getsignal(signal.SIGTERM) == before

@pytest.mark.parametrize('value', ['genus', '', None, 3, ['a']])
def test_one_of(value):
    with pytest.raises(InputError) as e: check_one_of('target', value, ('a', 'b'))
    assert str(e.value) == f'target {value!r}: expected one of a, b'

def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    write_atomically(tmp_path/'a.txt', lambda f: f.write(b'old'))
    def failing(f): f.write(b'ne'); raise OSError('no space left')
    with pytest.raises(InputError, match=r'a.txt: cannot be written \(no space left\)'): write_atomically(tmp_path/'a.txt', failing)
    with pytest.raises(InputError, match=r'b/a.txt: cannot be written \(No such file or directory\)'): write_atomically(tmp_path/'b/a.txt', print)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {'a.txt': b'old'}
