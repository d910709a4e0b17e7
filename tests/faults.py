"""Kill a reproduction at random moments, let it go on, and compare what comes out with one that nobody disturbed.

python tests/faults.py --kills 50 [--only transfer] [--longest 25] [--seed 0] [--folder EMPTY]
"""
import json, os, random, re, signal, subprocess, sys, tempfile, time
from collections import Counter
from pathlib import Path
import pandas as pd
from fastcore.script import call_parse
from resvit_nb.protocol import project_root
from resvit_nb.site import tables
from resvit_nb.records import read_record

TIMES = ('seconds', 'started', 'memory_mib', 'epochs', 'sha256', 'images')    # of a record: what no two runs share, or what is compared apart
PHASES = ('importing', 'drawing images', 'pre-training', 'training', 'checkpoint', 'record', 'weights', 'page', 'site')

def start(folder:Path, only:str, site:bool) -> subprocess.Popen:
    "Begin the reproduction, or go on with it"
    folder.mkdir(parents=True, exist_ok=True)
    (folder/'tmp').mkdir(exist_ok=True)
    env = {k: v for k, v in os.environ.items() if k != 'IN_TEST'} | dict(RESVIT_CACHE=str(folder/'cache'), TMPDIR=str(folder/'tmp'), OMP_NUM_THREADS='1')
    options = ['--profile', 'smoke', '--out', str(folder/'out'), '--results', str(folder/'results'), '--n_jobs', '1', *(['--only', only] if only else [])]
    code = 'from resvit_nb import site; ' + ('' if site else 'site.build_site = print; ') + 'site.resvit_reproduce.command()'
    with open(folder/'printed', 'w', encoding='utf-8') as printed:
        return subprocess.Popen([sys.executable, '-W', 'ignore', '-c', code, *options], cwd=project_root(), env=env, stdout=printed, stderr=subprocess.STDOUT)

def being_written(folder:Path) -> list:
    "Files that are not finished"
    places = [folder/'results', folder/'out/notebooks', folder/'out', folder/'cache/images', folder/'cache/weights', *folder.glob('cache/runs/*/checkpoints')]
    return [p for f in places if f.is_dir() for p in f.iterdir() if re.fullmatch(r'\..*\.\d+|making-.*|.*\.part', p.name)]

def wait(process, folder:Path, longest:float, rng) -> bool:
    "Let it run for a random time, or until a random one of the next files is being written; whether it is still running then"
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
    for what, sign in (('checkpoint', '.epoch-'), ('record', '.json.'), ('record', '.npz.'), ('weights', '.safetensors'), ('page', '.ipynb.')):
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
    found = {p.name: [re.sub(r'[\d.]+ (s|min|h|MiB)\b', '', t) for t in tables(p)] for p in folder.glob('out/notebooks/*.ipynb')}
    for p in folder.glob('results/*.json'):
        facts, record = json.loads(p.read_text('utf-8')), read_record(p)
        found[p.stem] = {k: v for k, v in facts.items() if k not in TIMES}, {k: v.tolist() for k, v in record.images.items()}, \
                        [{k: v for k, v in row.items() if 'second' not in k} for row in record.epochs]
    return found

def left_behind(folder:Path) -> list:
    "Temporary files in the three folders, and checkpoints"
    return being_written(folder) + list(folder.glob('cache/runs/*/checkpoints')) + list(folder.glob('tmp/making-*'))

def finish(process, folder:Path):
    "Wait for its end, which shall be a good one"
    if process.wait(): raise SystemExit(f"exit status {process.returncode}:\n{(folder/'printed').read_text('utf-8')}")

def inject(folder:Path, kills:int, only:str, seed:int, longest:float=25, site:bool=True) -> tuple:
    "Kill so many times, then let it finish and begin a new one after a dozen; a list of phases, one of what was lost, how many were finished"
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
            lost += [f'kill {len(phases)} ({phases[-1]}): record {k}' for k, v in before.items() if records(here).get(k) != v]
            print(f'kill {len(phases)}, round {rounds}: {phases[-1]}, {len(records(here))} records', flush=True)
        finish(start(here, only, site), here)
        lost += [f'round {rounds}: {k} differs' for k, v in whole.items() if outcome(here).get(k) != v] + [f'round {rounds}: {p} is left' for p in left_behind(here)]
        if process.returncode not in (0, -signal.SIGKILL): lost.append(f'round {rounds}: exit status {process.returncode}')
    return phases, lost, rounds

@call_parse
def main(
    kills:int=50,        # How many
    only:str='transfer', # Which experiment; '' for all
    seed:int=0,          # Of the moments
    folder:str=None,     # Empty folder for everything that is written [a temporary one]
    longest:float=25,    # Until a kill, in seconds
    no_site:bool=False,  # Leave the site out, which takes longer than all the rest
):
    "Kill a reproduction at random moments and print what was lost, which should be nothing"
    with tempfile.TemporaryDirectory() as made: phases, lost, rounds = inject(Path(folder or made).resolve(), kills, only, seed, longest, not no_site)
    count = Counter(phases)
    print(pd.DataFrame([[p, count[p], sum(f'({p})' in l for l in lost)] for p in PHASES] + [['all', len(phases), len(lost)]], columns=['struck', 'kills', 'lost']).to_string(index=False))
    print(f'{rounds} reproductions finished after {len(phases)} kills and were compared with one that nobody disturbed')
    if lost: sys.exit('\n'.join(lost))
