"What several files of tests share: processes as a user starts them, one small reproduction, a cache for real images"
import multiprocessing, os, subprocess, sys
from importlib import metadata
from pathlib import Path
import pytest
from filelock import FileLock

ROOT = Path(__file__).parent.parent

FIRST = ('test_killed', 'test_browser', 'test_stopped', 'test_the_course_and', 'test_without_records', 'test_a_page_is')

def pytest_collection_modifyitems(items):
    "The longest begin first: at the end no process waits for one of them"
    items.sort(key=lambda item: not any(name in item.nodeid for name in FIRST))

def surroundings(**env):
    "What a user's shell has, and these"
    return {k: v for k, v in os.environ.items() if k != 'IN_TEST'} | env

def run(command, *options, cwd=ROOT, **env):
    "One of the console scripts as a process"
    return subprocess.run([Path(sys.executable).with_name(command), *map(str, options)], cwd=cwd,
                          env=surroundings(**env), capture_output=True, encoding='utf-8')

def begin(command, options, cwd, env, outputs):
    "What a forked process does: become the console script, with output to two files"
    os.environ.clear(); os.environ.update(env); os.chdir(cwd)
    for fd, path in zip((1, 2), outputs): os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), fd)
    sys.argv = [command, *options]
    metadata.entry_points(group='console_scripts')[command].load()()

def run_forked(command, *options, outputs, cwd=ROOT, **env):
    "`run` without the seconds of importing: forked from a process that has done it; output goes to files in `outputs`"
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(['resvit_nb.reproduce'])
    files = [outputs/'stdout', outputs/'stderr']
    process = context.Process(target=begin, args=(command, [*map(str, options)], cwd, surroundings(**env), files))
    process.start(); process.join()
    return subprocess.CompletedProcess(command, process.exitcode, *(f.read_text('utf-8') for f in files))

def of_all(tmp_path_factory):
    "A folder that pytest's processes share"
    own = tmp_path_factory.getbasetemp()
    return own.parent if 'PYTEST_XDIST_WORKER' in os.environ else own

@pytest.fixture
def decoded(tmp_path_factory, monkeypatch):
    "Real images are decoded once, into this cache"
    monkeypatch.setenv('RESVIT_CACHE', str(of_all(tmp_path_factory)/'decoded'))

def reproduce(tmp_path_factory, profile, results=None):
    "The folder of a reproduction, and what the command printed; made once for all of pytest's processes"
    shared = of_all(tmp_path_factory)
    folder, printed = shared/profile, shared/f'{profile}.txt'
    with FileLock(shared/f'{profile}.lock'):
        if not printed.exists():
            done = run('resvit_reproduce', '--profile', profile, '--out', folder/'out', '--results',
                       results or folder/'results', RESVIT_CACHE=str(folder/'cache'))
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout, 'utf-8')
    return folder, printed.read_text('utf-8')

@pytest.fixture(scope='session')
def smoke(tmp_path_factory): return reproduce(tmp_path_factory, 'smoke')

@pytest.fixture(scope='session')
def published(tmp_path_factory):
    "The site of the reproduction, from the project's records"
    return reproduce(tmp_path_factory, 'paper', 'results')[0]/'out/site'
