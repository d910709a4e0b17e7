"What several files of tests share: processes as a user starts them, and one small reproduction."
import os, subprocess, sys
from pathlib import Path
import pytest
from filelock import FileLock

ROOT = Path(__file__).parent.parent

def run(command, *options, cwd=ROOT, **env):
    "One of the console scripts as a process"
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'} | env
    return subprocess.run([Path(sys.executable).with_name(command), *map(str, options)], cwd=cwd, env=env, capture_output=True, encoding='utf-8')

def reproduce(tmp_path_factory, profile, results=None):
    "The folder of a reproduction, and what the command printed; made once for all of pytest's processes"
    shared = tmp_path_factory.getbasetemp()
    if 'PYTEST_XDIST_WORKER' in os.environ: shared = shared.parent
    folder, printed = shared/profile, shared/f'{profile}.txt'
    with FileLock(shared/f'{profile}.lock'):
        if not printed.exists():
            done = run('resvit_reproduce', '--profile', profile, '--out', folder/'out', '--results', results or folder/'results', RESVIT_CACHE=str(folder/'cache'))
            assert done.returncode == 0, done.stderr
            printed.write_text(done.stdout, 'utf-8')
    return folder, printed.read_text('utf-8')

@pytest.fixture(scope='session')
def smoke(tmp_path_factory): return reproduce(tmp_path_factory, 'smoke')

@pytest.fixture(scope='session')
def published(tmp_path_factory):
    "The site of the reproduction, from the project's records"
    return reproduce(tmp_path_factory, 'paper', 'results')[0]/'out/site'
