"""Kill a reproduction at random moments, let it go on, and compare what comes out with one that nobody disturbed.

python tests/faults.py --kills 50 [--only transfer] [--longest 25] [--seed 0] [--folder EMPTY]

With --epochs N it trains single runs of N epochs instead, two at a time, and kills them in the middle of an epoch:
the whole group of processes or the parent only, with SIGTERM, SIGINT or SIGKILL in turn.
"""
import json, os, random, re, signal, subprocess, sys, tempfile, time
from collections import Counter
from contextlib import suppress
from pathlib import Path
import pandas as pd, psutil
from fastcore.script import call_parse
from resvit_nb.protocol import project_root
from resvit_nb.reproduce import tables
from resvit_nb.records import read_record

# of a record: what no two runs share, or what is compared apart
TIMES = ('seconds', 'started', 'memory_mib', 'epochs', 'sha256', 'images')
PHASES = ('importing', 'drawing images', 'pre-training', 'training', 'checkpoint', 'record', 'weights', 'page', 'site')

def start(folder:Path, only:str, site:bool) -> subprocess.Popen:
    "Begin the reproduction, or go on with it"
    folder.mkdir(parents=True, exist_ok=True)
    (folder/'tmp').mkdir(exist_ok=True)
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'} | dict(RESVIT_CACHE=str(folder/'cache'),
        TMPDIR=str(folder/'tmp'), OMP_NUM_THREADS='1')
    options = ['--profile', 'smoke', '--out', str(folder/'out'), '--results', str(folder/'results'), '--n_jobs', '1',
               *(['--only', only] if only else [])]
    quick = '' if site else 'reproduce.build_site = print; '
    code = f'from resvit_nb import reproduce; {quick}reproduce.resvit_reproduce.command()'
    with open(folder/'printed', 'w', encoding='utf-8') as printed:
        return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code, *options], cwd=project_root(), env=env,
                                stdout=printed, stderr=subprocess.STDOUT)

def being_written(folder:Path) -> list:
    "Files that are not finished"
    places = [folder/'results', folder/'out/notebooks', folder/'out', folder/'cache/images', folder/'cache/weights',
              *folder.glob('cache/runs/*/checkpoints')]
    return [p for f in places if f.is_dir() for p in f.iterdir() if re.fullmatch(r'\..*\.\d+|making-.*|.*\.part',
        p.name)]

def wait(process, folder:Path, longest:float, rng) -> bool:
    "Let it run for a random time, or until a random one of the next files is written; whether it still runs then"
    moment, seen = time.time()+rng.uniform(2, longest), set()
    files = rng.randint(1, 12) if rng.random() < .5 else None
    while process.poll() is None and time.time() < moment + (3*longest if files else 0):
        if files:
            seen |= set(being_written(folder))
            if len(seen) >= files: break
        time.sleep(.001 if files else .05)
    return process.poll() is None

def struck(folder:Path, before:set) -> str:
    "What it was doing, from what it printed and left half-done"
    half = ' '.join(p.name for p in being_written(folder) if p not in before)
    printed = (folder/'printed').read_text('utf-8')
    for what, sign in (('checkpoint', '.epoch-'), ('record', '.json.'), ('record', '.npz.'),
                       ('weights', '.safetensors'), ('page', '.ipynb.')):
        if sign in half: return what
    if 'site: ' in printed: return 'site'
    if re.search(r'^\w+: nbs/', printed, re.M) or re.search(r'^\w+: .*\.ipynb$', printed, re.M): return 'page'
    if 'making-' in half: return 'drawing images'
    if not any(folder.glob('cache/runs/*')): return 'importing'
    if not any(folder.glob('results/*.json')): return 'pre-training'
    return 'training' if printed else 'importing'

def records(folder:Path) -> dict:
    "Bytes of each record's two files"
    return {p.stem: (p.read_bytes(), p.with_suffix('.npz').read_bytes()) for p in folder.glob('results/*.json')}

def outcome(folder:Path) -> dict:
    "Tables and records, without what is timed"
    found = {p.name: [re.sub(r'[\d.]+ (s|min|h|MiB)\b', '', t) for t in tables(p)]
             for p in folder.glob('out/notebooks/*.ipynb')}
    for p in folder.glob('results/*.json'):
        facts, record = json.loads(p.read_text('utf-8')), read_record(p)
        found[p.stem] = {k: v for k, v in facts.items() if k not in TIMES}, {k: v.tolist()
            for k, v in record.images.items()}, \
                        [{k: v for k, v in row.items() if 'second' not in k} for row in record.epochs]
    return found

def left_behind(folder:Path) -> list:
    "Temporary files in the three folders, and checkpoints"
    return being_written(folder) + list(folder.glob('cache/runs/*/checkpoints')) + list(folder.glob('tmp/making-*'))

def finish(process, folder:Path):
    "Wait for its end, which shall be a good one"
    if process.wait(): raise SystemExit(f"exit status {process.returncode}:\n{(folder/'printed').read_text('utf-8')}")

def inject(folder:Path, kills:int, only:str, seed:int, longest:float=25, site:bool=True) -> tuple:
    "Kill so many times, let it finish after a dozen and begin anew; lists of phases and of losses, number of finished"
    rng, phases, lost, rounds = random.Random(seed), [], [], 0
    finish(start(folder/'whole', only, site), folder/'whole')
    whole = outcome(folder/'whole')
    while len(phases) < kills:
        here, rounds, limit = folder/f'round{rounds+1}', rounds+1, min(kills, len(phases)+rng.randint(8, 16))
        while len(phases) < limit:
            before, half = records(here), set(being_written(here))
            process = start(here, only, site)
            if not wait(process, here, longest, rng): break
            process.send_signal(signal.SIGKILL); process.wait()
            phases.append(struck(here, half))
            lost += [f'kill {len(phases)} ({phases[-1]}): record {k}' for k, v in before.items()
                     if records(here).get(k) != v]
            print(f'kill {len(phases)}, round {rounds}: {phases[-1]}, {len(records(here))} records', flush=True)
        finish(start(here, only, site), here)
        lost += [f'round {rounds}: {k} differs' for k, v in whole.items()
                 if outcome(here).get(k) != v] + [f'round {rounds}: {p} is left' for p in left_behind(here)]
        if process.returncode not in (0, -signal.SIGKILL):
            lost.append(f'round {rounds}: exit status {process.returncode}')
    return phases, lost, rounds

# to the group, or to the parent only
WAYS = [(signal.Signals[name], whole) for name in ('SIGTERM', 'SIGINT', 'SIGKILL') for whole in (True, False)]
TRAIN = '''import sys; from resvit_nb.config import RunConfig
from resvit_nb.core import console_script; from resvit_nb.workers import run_all
@console_script
def train(epochs:int=4): # How many
    "Train two runs at a time"
    run_all([RunConfig(n_per_subclass=30, width=8, augment=True, drop=.5, epochs=epochs, recipe=r)
             for r in ('keras-default', 'one-cycle')], sys.argv[1], n_jobs=2)
train.command(sys.argv[2:])'''

def start_runs(folder:Path, epochs:int) -> subprocess.Popen:
    "Begin both runs, or go on with them, in a group of processes of their own"
    for name in ('cache', 'tmp'): (folder/name).mkdir(parents=True, exist_ok=True)
    (folder/'it.py').write_text(TRAIN, 'utf-8')    # fastcore reads the source of a command
    env = os.environ | dict(RESVIT_CACHE=str(folder/'cache'), TMPDIR=str(folder/'tmp'), OMP_NUM_THREADS='1')
    command = [sys.executable, '-W', 'ignore', str(folder/'it.py'), str(folder/'results'), '--epochs', str(epochs)]
    with open(folder/'printed', 'a', encoding='utf-8') as printed:
        return subprocess.Popen(command, cwd=project_root(), env=env, stdout=printed, stderr=subprocess.STDOUT,
                                start_new_session=True)

def trainers(folder:Path) -> list:
    "Processes that have files of this folder's in their command or are workers of one that has"
    def of_it(p):
        with suppress(psutil.Error): return str(folder) in ' '.join([*p.cmdline(), p.environ().get('RESVIT_CACHE', '')])
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and of_it(p)
            and p.status() != psutil.STATUS_ZOMBIE]

def epochs_kept(folder:Path) -> list:
    return sorted(p.name[:11] for p in folder.glob('cache/runs/*/checkpoints/epoch-*'))

def wait_for_epoch(process, folder:Path, rng) -> bool:
    "Let it finish another epoch and be at some point in the next one; whether it is still running then"
    before = epochs_kept(folder)
    while process.poll() is None and epochs_kept(folder) == before: time.sleep(.02)
    moment = time.time()+rng.uniform(.1, 1.5)
    while process.poll() is None and time.time() < moment: time.sleep(.02)
    return process.poll() is None

def strike(process, folder:Path, sign, whole:bool) -> list:
    "Kill the group or the parent; what is wrong with how it ended"
    os.killpg(process.pid, sign) if whole else process.send_signal(sign)
    wrong, status = [], process.wait(timeout=30)
    if status not in (-sign, 128+sign): wrong.append(f'status {status}')
    until = time.time()+10
    while trainers(folder) and time.time() < until: time.sleep(.1)
    return wrong + [f'{p.pid} trains on' for p in trainers(folder)]

def inject_mid_epoch(kills:int, epochs:int, seed:int, folder:Path) -> tuple:
    "Kill so many times in the middle of an epoch; ways with their counts, and what was lost"
    rng, count, lost, rounds = random.Random(seed), Counter(), [], 0
    finish(start_runs(folder/'whole', epochs), folder/'whole')
    whole = outcome(folder/'whole')
    while sum(count.values()) < kills:
        here, rounds = folder/f'round{rounds+1}', rounds+1
        while sum(count.values()) < kills:
            process = start_runs(here, epochs)
            if not wait_for_epoch(process, here, rng): break
            kept, (sign, group) = epochs_kept(here), WAYS[sum(count.values())%len(WAYS)]
            way = f"{sign.name}, {'group' if group else 'parent only'}"
            wrong = strike(process, here, sign, group)
            if epochs_kept(here) < kept: wrong.append(f'{kept} became {epochs_kept(here)}')
            count[way] += 1
            lost += [f'{way}, round {rounds}: {w}' for w in wrong]
            print(f'kill {sum(count.values())}, round {rounds}: {way} after {kept}', flush=True)
        finish(start_runs(here, epochs), here)
        lost += [f'round {rounds}: {k} differs' for k, v in whole.items()
                 if outcome(here).get(k) != v] + [f'round {rounds}: {p} is left' for p in left_behind(here)]
    return count, lost, rounds

@call_parse
def main(
    kills:int=50,        # How many
    only:str='transfer', # Which experiment; '' for all
    seed:int=0,          # Of the moments
    folder:str=None,     # Empty folder for everything that is written [a temporary one]
    longest:float=25,    # Until a kill, in seconds
    no_site:bool=False,  # Leave the site out, which takes longer than all the rest
    epochs:int=None,     # Train runs of so many epochs instead, and kill them in the middle of an epoch
):
    "Kill a reproduction at random moments and print what was lost, which should be nothing"
    if epochs:
        with tempfile.TemporaryDirectory() as made:
            count, lost, rounds = inject_mid_epoch(kills, epochs, seed, Path(folder or made).resolve())
        print(pd.Series(count).to_string(),
              f'\n{rounds} pairs of runs finished after {sum(count.values())} kills and were compared bit for bit with '
              f'one that nobody disturbed')
        sys.exit('\n'.join(lost)) if lost else sys.exit()
    with tempfile.TemporaryDirectory() as made:
        phases, lost, rounds = inject(Path(folder or made).resolve(), kills, only, seed, longest, not no_site)
    count = Counter(phases)
    print(pd.DataFrame([[p, count[p], sum(f'({p})' in l for l in lost)]
                        for p in PHASES] + [['all', len(phases), len(lost)]],
                        columns=['struck', 'kills', 'lost']).to_string(index=False))
    print(f'{rounds} reproductions finished after {len(phases)} kills and were compared with one that nobody disturbed')
    if lost: sys.exit('\n'.join(lost))
