"What several files of tests share: processes as a user starts them, and one small reproduction."
import os, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).parent.parent

def run(command, *options, cwd=ROOT, **env):
    "One of the console scripts as a process"
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'} | env
    return subprocess.run([Path(sys.executable).with_name(command), *map(str, options)], cwd=cwd, env=env, capture_output=True, encoding='utf-8')

@pytest.fixture(scope='session')
def smoke(tmp_path_factory):
    "The folder of a smoke reproduction, and what the command printed"
    folder = tmp_path_factory.mktemp('smoke')
    done = run('resvit_reproduce', '--profile', 'smoke', '--out', folder/'out', '--results', folder/'results', RESVIT_CACHE=str(folder/'cache'))
    assert done.returncode == 0, done.stderr
    return folder, done.stdout
