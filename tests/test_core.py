"Errors of one line, functions as commands, files written whole or not at all."
import ast, json, os, pickle, re, signal, subprocess, sys, threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import pytest, torch
from resvit_nb import core
from resvit_nb.core import InputError, check_one_of, console_script, digest, is_name, printable, write_atomically

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

def test_too_large_for_the_memory():
    assert leaves('--n', '1000000000000000').startswith('halve: error: out of memory: ')

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
    with pytest.raises(InputError, match=r'a.txt: cannot be written \(no space left\)'):
        write_atomically(tmp_path/'a.txt', failing)
    with pytest.raises(InputError, match=r'b/a.txt: cannot be written \(No such file or directory\)'):
        write_atomically(tmp_path/'b/a.txt', print)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {'a.txt': b'old'}

# ---- text is UTF-8, whatever the machine's language
ROOT = Path(__file__).parent.parent

def code_of(path):
    "The code of a module or of a notebook, without IPython's commands"
    if path.suffix == '.py': return path.read_text('utf-8')
    code = '\n'.join(''.join(c['source']) for c in json.loads(path.read_text('utf-8'))['cells']
                     if c['cell_type'] == 'code')
    return re.sub(r'(?m)^ *[%!].*$', '', code)

def in_another_encoding(source):
    "Calls that read or write text in whatever encoding the machine has"
    arguments = dict(read_text=0, write_text=1, open=3)    # that come before the encoding
    for call in (n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call)):
        method = call.func.attr if isinstance(call.func, ast.Attribute) else None
        name = method if method != 'open' else None    # archives and pictures have an `open` of their own
        if isinstance(call.func, ast.Name) and call.func.id == 'open': name = 'open'
        given = {k.arg: k.value for k in call.keywords}
        binary = name == 'open' and any(isinstance(a, ast.Constant) and 'b' in str(a.value) for a in call.args[1:2])
        bare = name in arguments and len(call.args) <= arguments[name] and not {'encoding', None} & given.keys()
        if bare and not binary or isinstance(given.get('text'), ast.Constant) and given['text'].value is True:
            yield ast.unparse(call)

def test_every_text_file_says_its_encoding():
    bad = ['open(p)', "open(p, 'w')", 'p.read_text()', 'p.write_text(f(x))', 'run(c, text=True)']
    good = ["open(p, 'rb')", "open(p,\n     encoding='utf-8')", "p.read_text('utf-8')", "p.write_text(f(x),\n'utf-8')",
            'Image.open(p)', 'run(**o)']
    assert [*in_another_encoding('\n'.join([*bad, *good]))] == bad
    files = [*(ROOT/'nbs').rglob('*.ipynb'), *(ROOT/'resvit_nb').glob('*.py'),
             *(p for p in (ROOT/'tests').glob('*.py') if p.name != 'test_core.py')]
    assert len(files) > 60
    assert [(p.name, call) for p in files if '.ipynb_checkpoints' not in p.parts
            for call in in_another_encoding(code_of(p))] == []

def elsewhere(folder, code, **env):
    "What Python prints for `code` where the language of the machine is not UTF-8 and nothing may depend on that"
    env = {**os.environ, 'LC_ALL': 'C', 'PYTHONUTF8': '0', 'PYTHONCOERCECLOCALE': '0', 'PYTHONPATH': str(ROOT), **env}
    (folder/'it.py').write_text(code, 'utf-8')    # fastcore reads the source of a command
    done = subprocess.run([sys.executable, '-W', 'ignore', folder/'it.py'], env=env, capture_output=True)
    return done.returncode, done.stdout, done.stderr.decode(errors='replace')

def test_letters_that_the_terminal_does_not_have(tmp_path):
    code = '''
from resvit_nb.core import InputError, console_script
@console_script
def spam(n:int=0): # Zahl
    "Writes"
    print('Zw\\xf6lf')
    if n: raise InputError('V\\xf6gel \\u9ce5')
spam.command(['--n', '1'])'''
    assert elsewhere(tmp_path, code) == (1, b'Zw\\xf6lf\n', 'spam: error: V\\xf6gel \\u9ce5\n')

def test_an_account_without_a_home_folder(tmp_path):
    code = '''
import os, pwd
def nobody(*args): raise KeyError
os.environ.pop('HOME', None); pwd.getpwuid = nobody
from resvit_nb.sources import resvit_data
resvit_data.command(['--resolution', '8'])'''
    status, printed, said = elsewhere(tmp_path, code, RESVIT_CACHE='')
    assert (status, printed, said.count('\n')) == (1, b'', 1)
    assert said.startswith('resvit_data: error: no home folder') and 'RESVIT_CACHE' in said

# ---- nobody reads on
@pytest.mark.parametrize('together', [False, True])
@pytest.mark.parametrize('code', ['for i in range(9): print(i, flush=True)',
                                  "print('one line that is still in the buffer')", "print('x'*10**6)"])
def test_a_reader_that_goes_ends_a_command_without_a_word(tmp_path, code, together):
    (tmp_path/'it.py').write_text(f"""from resvit_nb.core import console_script
@console_script
def spam(n:int=0): # A number
    "Prints"
    {code}
spam.command([])
""", 'utf-8')
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([sys.executable, '-W', 'ignore', tmp_path/'it.py'],
                          env={**os.environ, 'PYTHONPATH': str(ROOT)}, stdout=write,
                          stderr=write if together else subprocess.PIPE)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, None if together else b'')

def test_another_broken_pipe_is_told():
    @console_script
    def spam(): "Prints"; raise BrokenPipeError(32, 'Broken pipe')
    with pytest.raises(SystemExit) as left: spam.command([])
    assert left.value.code == 'spam: error: [Errno 32] Broken pipe'

def test_what_a_caller_puts_before_the_message_is_not_printed():
    e = InputError('disk: full')
    e.args = ('Exception occured in `Saver` when calling event `after_fit`:\n\tdisk: full',)    # as fastai does
    assert str(e) == 'disk: full' and str(pickle.loads(pickle.dumps(e))) == 'disk: full'

@pytest.mark.parametrize('closed', ['>&-', '2>&-', '>&- 2>&-'])
def test_commands_work_where_nobody_listens(closed, tmp_path):
    command = Path(sys.executable).with_name('resvit_data')
    done = subprocess.run(['sh', '-c', f'exec {command} --resolution 8 --sheet {tmp_path}/s.png {closed}'],
                          capture_output=True, text=True, env=os.environ | dict(RESVIT_CACHE=str(tmp_path/'cache')))
    assert done.returncode == 0 and (tmp_path/'s.png').exists() and 'Traceback' not in done.stderr, done

@pytest.mark.skipif(not Path('/dev/full').exists(), reason='no /dev/full here')
def test_help_that_cannot_be_printed_is_one_line():
    command = Path(sys.executable).with_name('resvit_predict')
    done = subprocess.run(f'{command} --help > /dev/full', shell=True, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.count('\n') == 1 and 'cannot be printed' in done.stderr

def test_only_the_dealer_of_a_broken_pool_is_hushed(monkeypatch):
    said = []
    monkeypatch.setattr(threading, 'excepthook', lambda args: said.append(args.exc_type))
    class _ExecutorManagerThread(threading.Thread): pass
    def fail(): raise KeyError
    with pytest.raises(ZeroDivisionError), core.stopping(ThreadPoolExecutor(1)): 1/0
    for kind in (_ExecutorManagerThread, threading.Thread):
        thread = kind(target=fail); thread.start(); thread.join()
    assert said == [KeyError]

@pytest.mark.parametrize('name', [
    'کتاب\u200cها', '柴\u3000犬', 'chow\xa0chow', '\U0001f469\u200d\U0001f33e', 'so\xadfa', '\U0001fadf',
    '\ue000', "d'og", 'Māori \u0301'])
def test_names_of_any_script(name): assert is_name(name) and printable(name) == name

@pytest.mark.parametrize('name, shown', [('a\rb', r'a\rb'), ('\x1b[2J', r'\x1b[2J'), ('\x9b2J', r'\x9b2J'),
                                         ('a\u2028b', r'a\u2028b'), ('\u2066a', r'\u2066a'), ('\ud800', r'\ud800')])
def test_names_that_steer_a_terminal(name, shown): assert not is_name(name) and printable(name) == shown

@pytest.mark.parametrize('name', ['', ' ', '\u3000', '\u200d', '\xad \xa0', None, 3, b'a', ['a']])
def test_names_that_show_nothing(name): assert not is_name(name)

def test_the_digest_of_a_pipe_waits_for_nobody(tmp_path):
    os.mkfifo(tmp_path/'a.npz')
    with pytest.raises(OSError, match='a.npz is no file but a pipe'): digest(tmp_path/'a.npz')
