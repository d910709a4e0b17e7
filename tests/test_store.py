"""Nothing lost, nothing let in: runs that are killed, records that are damaged, processes that want the same.

As a script, `test_store.py FOLDER ATTACK`, it is the process that forks and kills: children of a process that has
imported everything start at once.
"""
import gc, json, os, random, re, shutil, signal, subprocess, sys, time, traceback
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
import filelock, numpy as np, psutil, pytest, torch
from fastai.learner import Learner
from PIL import Image
from conftest import surroundings
from resvit_nb import audit, checkpoints, core, records, reproduce, runs, workers
from resvit_nb.core import InputError
from resvit_nb.weights import save_weights
from resvit_nb.scores import summarise
from resvit_nb.config import RunConfig, find_profile, run_id
from resvit_nb.records import read_record
from resvit_nb.runs import run, run_folder, weights_file
from resvit_nb.audit import compare_records, rerun_record, resvit_runs
from resvit_nb.protocol import Plan, train_missing

ROOT = Path(__file__).parent.parent
CONFIG = RunConfig(data='image_tree', resolution=16, image_size=16, model='vit_tiny', dim=48, depth=2, heads=3,
                   augment=True, drop=.5, recipe='one-cycle', batch_size=6, epochs=3)
SHORT = replace(CONFIG, batch_size=12, epochs=2)


# What the script does

def plant(folder):
    "Forty images of four subclasses"
    for a, b, i in [(a, a+n, i) for a in 'ab' for n in '12' for i in range(10)]:
        (folder/a/b).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(ord(b[0])*100+ord(b[1])*10+i).integers(0, 255, (16,16,3),
            np.uint8)).save(folder/a/b/f'{i}.png')
    return folder

def forked(attack, *args):
    "A process of its own that does this"
    sys.stdout.flush()
    pid = os.fork()
    if pid: return pid
    try: attack(*args); sys.stdout.flush(); os._exit(0)
    except BaseException: traceback.print_exc(); sys.stderr.flush(); os._exit(1)

def ended(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def kill_at(n, names):
    "Kill this process at the n-th moment that matters: before and half-way through a change of a file, before a batch"
    count = 0
    def moment(name):
        nonlocal count
        count += 1
        names.append(name)
        if count == n: os.kill(os.getpid(), signal.SIGKILL)
    def around(owner, name):
        whole = getattr(owner, name)
        def wrapped(*args, **kwargs):
            moment(name)
            return whole(*args, **kwargs)
        setattr(owner, name, wrapped)
    for name in ('replace', 'rename', 'fsync', 'unlink', 'rmdir', 'mkdir'): around(os, name)
    around(Learner, 'one_batch')
    write = core.write_atomically
    def halfway(path, fill):
        def half(f):
            f.write(b'half'); f.flush(); moment('half-way'); f.seek(0); f.truncate()
            fill(f)
        write(path, half)
    for module in (records, runs, checkpoints): module.write_atomically = halfway

def tracked(folder, tree, n, to=None):
    "The run, killed at the n-th moment, with everything that it writes in `folder`"
    os.environ['RESVIT_CACHE'] = str(folder/'cache')
    names = []
    if n or to: kill_at(n, names)
    run(SHORT, folder/'results', tree, keep=True)
    if to: to.write_text(json.dumps(names), 'utf-8')

def outcome(folder):
    "What must be the same: every file's name, and the content of the record and of the weights, but for times"
    os.environ['RESVIT_CACHE'] = str(folder/'cache')
    r = read_record(folder/'results'/f'{run_id(SHORT)}.json')
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if 'pixels' not in p.name)
    rows = [{k: v for k, v in row.items() if 'second' not in k} for row in r.epochs]
    images, bits = {k: v.tolist() for k, v in r.images.items()}, weights_file(r.run_id).read_bytes().hex()
    return files, images, rows, r.test, r.weights, r.resumed, bits

def everywhere(folder):
    "Kill the run at every moment, one after another; it goes on each time"
    tree = plant(folder/'tree')
    tracked(folder/'first', tree, None)    # what is imported late is imported here, once
    gc.collect(); gc.freeze()
    assert ended(forked(tracked, folder/'whole', tree, None, folder/'names')) == 0
    names, whole, wrong = json.loads((folder/'names').read_text('utf-8')), outcome(folder/'whole'), []
    for n, name in enumerate(names, 1):
        here = folder/f'{n}'
        status = ended(forked(tracked, here, tree, n)), ended(forked(tracked, here, tree, None))
        if status != (-signal.SIGKILL, 0): wrong.append(f'{n} {name}: ended with {status}')
        else:
            wrong += [f'{n} {name}: {what} differ' for what, a, b in zip(('files', 'images', 'epochs', 'scores',
                'weights', 'resumed', 'bits'), whole, outcome(here)) if a != b]
        shutil.rmtree(here)
    (folder/'wrong').write_text(json.dumps(dict(moments=len(names), wrong=wrong)), 'utf-8')

def twice(folder):
    "Two processes ask for the same run, two fine-tunings for one pre-training whose weights are gone; each trains once"
    tree = plant(folder/'tree')
    os.environ['RESVIT_CACHE'] = str(folder/'cache')
    fit = Learner.fit
    def slow(self, n): print('trained', flush=True); time.sleep(.5); fit(self, n)
    Learner.fit = slow
    def both(*configs): return [ended(p) for p in [forked(run, c, folder/'results', tree) for c in configs]]
    assert both(CONFIG, CONFIG) == [0, 0]
    print('--', flush=True)
    before = run(replace(CONFIG, target='subclass'), folder/'results', tree, keep=True)
    weights_file(before.run_id).unlink()
    tuned = replace(CONFIG, target='subclass', weights=before.run_id, epochs=1)
    print('--', flush=True)
    assert both(tuned, replace(tuned, seed=1)) == [0, 0]
    assert {r.weights['begun'] for r in map(read_record, (folder/'results').glob('*.json'))
            if 'begun' in r.weights} == {before.weights['left']}

def training(folder):
    "Two long trainings in two workers"
    os.environ['RESVIT_CACHE'] = str(folder/'cache')
    def long():
        workers.run_all([replace(CONFIG, epochs=10000, seed=s) for s in (0, 1)], folder/'results', plant(folder/'tree'),
                        n_jobs=2)
    core.console_script(long).command([])

def unread(results):
    "A long list and two short answers, to a reader that closes after one line; the exit status of each, as in a shell"
    records.list_records = audit.list_records = lambda r: 'line\n'*10**5
    def piped(reader, options):
        os.dup2(reader.stdin.fileno(), 1)
        try: resvit_runs.command(['--results', str(results), *options.split()])
        except SystemExit as e:
            if isinstance(e.code, str): print(e.code, file=sys.stderr)
            sys.stdout.flush(); os._exit(e.code if isinstance(e.code, int) else 1)
    status = {}
    for options in ('', '--verify', '--show x'):
        reader = subprocess.Popen(['head', '-n', '1'], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        pid = forked(piped, reader, options)
        reader.stdin.close(); reader.wait()
        code = ended(pid)
        status[options] = code if code >= 0 else 128-code
    print(status)

def pages(folder):
    "Pages of experiments, made from stored records"
    reproduce.resvit_reproduce.command(['--profile', 'paper', '--out', str(folder/'out')])


# Tests

def hear(): signal.signal(signal.SIGINT, signal.SIG_DFL)    # a shell's background jobs do not, nor what they begin

def script(folder, attack, **options):
    return subprocess.Popen([sys.executable, '-W', 'ignore', __file__, str(folder), attack], cwd=ROOT,
                            env=surroundings(OMP_NUM_THREADS='1'), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            encoding='utf-8', preexec_fn=hear, **options)

def test_killed_at_every_moment_it_ends_with_the_same_bits(tmp_path):
    child = script(tmp_path, 'everywhere')
    assert child.wait() == 0, child.stdout.read()
    found = json.loads((tmp_path/'wrong').read_text('utf-8'))
    assert found['moments'] > 35 and found['wrong'] == []

def test_two_that_want_the_same_train_it_once(tmp_path):
    printed, _ = (child := script(tmp_path, 'twice')).communicate()
    assert child.returncode == 0, printed
    same, _, fine_tunings = printed.split('--\n')
    assert same.count('trained\n') == 1 and same.count('another process trains this run; waiting') == 1
    assert fine_tunings.count('trained\n') == 3    # the pre-training once, and each of the two

def begun(child, what):
    "Processes below this one whose command says `what`"
    found = []
    for p in psutil.Process(child.pid).children(recursive=True):
        with suppress(psutil.Error): found += [p] if what in ' '.join(p.cmdline()) else []
    return found

def at_work(child, folder): return len(list(folder.glob('cache/runs/*/checkpoints/epoch-*'))) >= 2
def importing(child, folder): return len(begun(child, 'LokyProcess')) == 2
def two_pages(child, folder): return len(begun(child, 'multiprocessing.forkserver')) == 3    # and their server

STOPS = [(training, at_work, signal.SIGINT, True, 130), (training, importing, signal.SIGINT, True, 130),
         (training, at_work, signal.SIGTERM, True, 143), (training, importing, signal.SIGTERM, False, 143),
         (training, at_work, signal.SIGKILL, False, -9), (pages, two_pages, signal.SIGINT, True, 130),
         (pages, two_pages, signal.SIGTERM, False, 143)]

@pytest.mark.parametrize('attack, when, sign, group, status', STOPS,
                         ids=[f"{s.name} {'to all' if g else 'to one'}, {w.__name__}" for _, w, s, g, _ in STOPS])
def test_stopped_it_leaves_no_process_at_work_and_says_how_to_go_on(attack, when, sign, group, status, tmp_path):
    child = script(tmp_path, attack.__name__, start_new_session=True)
    while not when(child, tmp_path): time.sleep(.02); assert child.poll() is None, child.stdout.read()
    started = psutil.Process(child.pid).children(recursive=True)
    (os.killpg if group else os.kill)(child.pid, sign)
    assert len(started) >= 2 and psutil.wait_procs(started, 60)[1] == []
    printed, _ = child.communicate()
    assert child.returncode == status and 'Traceback' not in printed, printed
    if status > 0: assert printed.rstrip().endswith(': stopped; to go on, run the same command again')

@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    tree, results = plant(tmp_path/'tree'), tmp_path/'results'
    return tree, results, lambda config=CONFIG, **options: run(config, results, tree, **options)

def broken_off(store, monkeypatch, config=CONFIG, keep_all=False):
    "Its checkpoints, after it was stopped in its third epoch"
    tree, results, go = store
    batch = Learner.one_batch
    def stop(self, *args):
        if self.training and self.epoch == 2: raise KeyboardInterrupt
        batch(self, *args)
    with monkeypatch.context() as m:
        m.setattr(Learner, 'one_batch', stop)
        if keep_all:
            m.setattr(Path, 'unlink', lambda self, **k: 'checkpoints' in self.parts or os.unlink(self) if self.exists()
                      else None)
        with pytest.raises(KeyboardInterrupt): go(config)
    return sorted(next((results.parent/'cache/runs').glob(f'{run_id(config)}-*/checkpoints')).glob('epoch-*'))

def same(a, b):
    return [{k: v for k, v in row.items() if 'second' not in k} for row in a.epochs] == [{k: v for k, v in row.items()
        if 'second' not in k} for row in b.epochs] and all(np.array_equal(a.images[k], b.images[k]) for k in a.images)

DAMAGE = dict(truncated=lambda b: b[:len(b)//2], empty=lambda b: b'', flipped=lambda b: b[:-9]+bytes([b[-9]^1])+b[-8:],
              header=lambda b: b'\xff'*8+b[8:], text=lambda b: b'half')

@pytest.mark.parametrize('what', DAMAGE)
@pytest.mark.parametrize('keep_all', [False, True], ids=['the only one', 'with the one before'])
def test_damaged_checkpoint_is_named_and_passed_over(what, keep_all, store, monkeypatch, capsys):
    *earlier, last = broken_off(store, monkeypatch, keep_all=keep_all)
    assert len(earlier) == keep_all
    last.write_bytes(DAMAGE[what](last.read_bytes()))
    batches, batch = [], Learner.one_batch
    monkeypatch.setattr(Learner, 'one_batch', lambda self, *a: (batches.append(self.epoch) if self.training else None,
                                                                batch(self, *a)))
    record = store[2]()
    assert f'checkpoint {last}: damaged' in capsys.readouterr().out
    assert set(batches) == ({1, 2} if keep_all else {0, 1, 2})
    monkeypatch.setenv('RESVIT_CACHE', str(store[1].parent/'other'))
    assert same(record, run(CONFIG, store[1].parent/'elsewhere', store[0]))

def test_a_frozen_network_goes_on(store, monkeypatch):
    config = replace(CONFIG, model='resnet50', dim=None, depth=None, heads=None, width=8, freeze=True)
    broken_off(store, monkeypatch, config)
    record = store[2](config)
    shutil.rmtree(store[1])
    assert same(record, store[2](config)) and record.resumed == []

def test_going_on_under_other_conditions_is_recorded(store, monkeypatch):
    broken_off(store, monkeypatch)
    ours = runs.versions()
    monkeypatch.setattr(runs, 'versions', lambda: ours | dict(torch='9.9'))
    record = store[2]()
    assert record.resumed == read_record(store[1]/f'{record.run_id}.json').resumed == [dict(epoch=2,
        differ=dict(torch=[ours['torch'], '9.9']))]

def test_a_training_that_began_with_other_weights_is_not_gone_on_with(store, monkeypatch, capsys):
    file = store[1].parent/'start.safetensors'
    config = replace(CONFIG, weights=str(file))
    for seed in (1, 2):
        torch.manual_seed(seed)
        save_weights(runs.make_model(CONFIG, 2), file)
        if seed == 1: broken_off(store, monkeypatch, config)
    record = store[2](config)
    assert 'its training began with other weights' in capsys.readouterr().out
    shutil.rmtree(store[1])
    assert same(record, store[2](config)) and record.weights == dict(begun=records.digest(file))

def test_same_bits_whatever_ran_before_and_in_another_process(store):
    first = store[2]()
    shutil.rmtree(store[1])
    threads = torch.get_num_threads()
    torch.rand(5); random.random(); np.random.rand(3); torch.set_num_threads(2)
    try: store[2](replace(CONFIG, seed=3)); again = store[2]()
    finally: torch.set_num_threads(threads)
    assert same(first, again)
    code = (
        f'from resvit_nb.config import RunConfig; from resvit_nb.runs import run; run(RunConfig(**{asdict(CONFIG)!r}), '
        f'{str(store[1].parent/"third")!r}, {str(store[0])!r})')
    subprocess.run([sys.executable, '-W', 'ignore', '-c', code], env=os.environ | dict(OMP_NUM_THREADS='2'), check=True,
                   stdout=subprocess.DEVNULL)
    assert same(first, read_record(store[1].parent/'third'/f'{first.run_id}.json'))

def means_the_same(b, whole):
    try: return json.loads(b) == json.loads(whole)
    except ValueError: return False

def test_no_change_of_a_record_goes_unnoticed(store):
    record = store[2]()
    path = store[1]/f'{record.run_id}.json'
    rng = random.Random(0)
    for file in (path, path.with_suffix('.npz')):
        whole = file.read_bytes()
        changed = [whole[:n] for n in rng.sample(range(len(whole)-1), 60)]
        changed += [whole[:n]+bytes([whole[n]^1<<rng.randrange(8)])+whole[n+1:]
                    for n in rng.sample(range(len(whole)), 150)]
        for b in [*changed, b'', b'null', b'[1]', b'3', b'{}', whole*2, b'\xff\xfe']:
            file.write_bytes(b)
            if file == path and means_the_same(b, whole): continue    # 1e-05 and 1E-05
            with pytest.raises(InputError, match=r'^record [^\n]*; expected a record as it was written[^\n]*$') as e:
                read_record(path)
            assert str(path) in str(e.value) and file.read_bytes() == b
        file.write_bytes(whole)
    assert same(record, read_record(path))

def test_a_bad_record_is_left_alone_and_not_trained_over(store):
    record = store[2]()
    path = store[1]/f'{record.run_id}.json'
    for old, new, why in (('"schema": 1', '"schema": 2', 'schema is not 1 but 2'),
                          ('"drop": 0.5', '"drop": 0.4', 'edited since'), ('{', '{"new": 1, ', 'edited since')):
        whole = path.read_text('utf-8')
        path.write_text(whole.replace(old, new, 1), 'utf-8')
        with pytest.raises(InputError, match=why): store[2]()
        assert path.read_text('utf-8') == whole.replace(old, new, 1)
        path.write_text(whole, 'utf-8')
    path.with_suffix('.npz').unlink()
    with pytest.raises(InputError, match='FileNotFoundError'): store[2]()
    assert [p.name for p in store[1].iterdir()] == [path.name]

def test_other_images_are_never_taken_for_the_same(store):
    record = store[2]()
    Image.new('RGB', (16,16)).save(next((store[0]/'a/a1').iterdir()))
    with pytest.raises(InputError, match='made from other data'): store[2]()
    assert read_record(store[1]/f'{record.run_id}.json').data == record.data

@pytest.mark.parametrize('old, new', [('a', 'aa'), ('b', 'b_')])
def test_classes_with_other_names_are_not_taken_for_the_same(store, old, new):
    record = store[2]()
    (store[0]/old).rename(store[0]/new)
    for _ in range(2):
        with pytest.raises(InputError,
                           match=f"record .*{record.run_id}.json: made when the class '{new}' of .* was called "
                                 f"'{old}': expected another results folder$"): store[2]()
    (store[0]/new).rename(store[0]/old)
    assert store[2]().run_id == record.run_id

def test_damaged_weights_of_a_pre_training_are_trained_again(store, capsys):
    before = store[2](replace(CONFIG, target='subclass'), keep=True)
    file = weights_file(before.run_id)
    whole = file.read_bytes()
    file.write_bytes(whole[:-5]+bytes([whole[-5]^1])+whole[-4:])
    after = store[2](replace(CONFIG, target='subclass', weights=before.run_id, epochs=1))
    assert 'not those that' in capsys.readouterr().out and file.read_bytes() == whole
    assert after.weights['begun'] == before.weights['left']

def command(*options):
    "Exit status or last words of resvit_runs"
    try: resvit_runs.command([str(o) for o in options])
    except SystemExit as e: return e.code

def test_resvit_runs(store, capsys):
    tree, results, go = store
    kept, other = go(), go(replace(CONFIG, seed=1))
    assert command('--results', results) is None
    table = capsys.readouterr().out
    assert [table.count(f'\n{r.run_id} ') for r in (kept, other)] == [1, 1] and f"{kept.test['accuracy']:.3f}" in table
    assert command('--results', results, '--show', kept.run_id) is None
    assert json.loads(capsys.readouterr().out)['run_id'] == kept.run_id
    assert 'there is no such record' in command('--results', results, '--show', 'nothing')
    assert 'expected a folder' in command('--results', results/'nowhere')
    assert command('--results', results, '--verify', '--data', 'image_tree', '--data_dir', tree) is None
    assert '2 records are good, 2 of them checked against their images' in capsys.readouterr().out
    path = results/f'{other.run_id}.json'
    path.write_text(path.read_text('utf-8').replace('"accuracy": ', '"accuracy": 1', 1), 'utf-8')
    (lonely := results/f'{run_id(replace(CONFIG, seed=9))}.npz').write_bytes(b'')
    said = command('--results', results, '--verify')
    assert said.count('\n') == 1 and str(path) in said and lonely.name in said and kept.run_id not in said
    assert '1 records are good' in capsys.readouterr().out
    lonely.unlink(); shutil.copy(tree/'a/a1/0.png', tree/'a/a1/1.png')
    assert f'record {kept.run_id}: made from other data' in command('--results', results, '--verify', '--data',
        'image_tree', '--data_dir', tree)

def test_prune_takes_what_nobody_needs_and_nothing_else(store, monkeypatch, capsys):
    tree, results, go = store
    done, running = go(), replace(CONFIG, seed=2)
    checkpoints, = broken_off(store, monkeypatch, running)
    place = run_folder(CONFIG, done.data['fingerprint'])
    (place/'checkpoints').mkdir(); (place/'checkpoints/epoch-00001-0.safetensors').write_bytes(b'x'*2**20)
    dead = subprocess.Popen(['true']); dead.wait()
    name = 'owls-subclass-vit_tiny-0123456789'
    left = [results/f'.{name}.json.{dead.pid}', results/f'.audit.json.{dead.pid}',
            checkpoints.parent/f'.epoch-00001-0.safetensors.{dead.pid}',
            weights_file('a').parent/f'.{name}.safetensors.{dead.pid}',
            results.parent/f'cache/images/making-{dead.pid}-a_0b1c2d/images.npy']
    live = [results/f'.{name}.json.{os.getpid()}', results/'.bashrc', results/f'.notes.{dead.pid}',
            results/f'.thesis.json.{dead.pid}', results/'.plot.ipynb.20241231', results/f'making-{dead.pid}-cakes']
    for p in left+live: p.parent.mkdir(parents=True, exist_ok=True); p.write_bytes(b'half')
    records = {p: p.read_bytes() for p in results.glob('[!.]*')}
    with filelock.FileLock(place/'lock'): command('--results', results, '--prune')
    assert place.exists()    # somebody trains it
    command('--results', results, '--prune')
    assert '1.0 MiB' in capsys.readouterr().out.splitlines()[-1]
    assert not any(p.exists() for p in [*left, left[-1].parent, place])
    assert all(p.exists() for p in [*live, checkpoints])
    assert {p: p.read_bytes() for p in results.glob('[!.]*')} == records

@pytest.mark.parametrize('old, new, why', [('"drop": 0.5', '"drop": 0.25', 'its configuration belongs to'),
                                           ('"memory_mib": ', '"memory_mib": "much", "was": ', 'Record.__init__'),
    ('"seconds": ', '"seconds": "long", "x": ', 'Record.__init__'), ('"parameters"', '"parameters', 'JSONDecodeError')],
    ids=['setting', 'type', 'field', 'no JSON'])
def test_damage_is_noticed_without_a_hash_of_the_facts(old, new, why, store):
    record = store[2]()
    path = store[1]/f'{record.run_id}.json'
    path.write_text(whole := re.sub(r',\n "sha256": "\w+"\n}', '\n}', path.read_text('utf-8')), 'utf-8')
    assert same(read_record(path), record)    # as the oldest records are
    path.write_text(whole.replace(old, new, 1), 'utf-8')
    with pytest.raises(InputError, match=why): read_record(path)
    facts = json.loads(whole)
    path.write_text(json.dumps(facts | dict(memory_mib='much')), 'utf-8')
    with pytest.raises(InputError, match="memory_mib 'much': expected int"): read_record(path)
    better = facts | dict(test=facts['test'] | dict(accuracy=.99))
    path.write_text(json.dumps(better), 'utf-8')
    with pytest.raises(InputError, match='scores are not those of its images'): read_record(path)


# ---- a folder with other things in it
FOREIGN = {'to-do.json': b'["milk"]', 'settings.json': b'{"schema": 3}', 'my-own-notes.json': b'not JSON at all',
           'empty.json': b'', 'a-b-c.json': b'{"run": [1, 2]}', 'deep.json': b'['*100000,
           'latin-1.json': b'"\xe9"', 'number.json': b'7', 'null.json': b'null'}

def test_files_of_the_user_are_named_and_passed_over(store, capfd):
    record = store[2]()
    for name, content in FOREIGN.items(): (store[1]/name).write_bytes(content)
    (store[1]/'folder.json').mkdir(); (store[1]/'loop.json').symlink_to('loop.json')
    (store[1]/'benchmark.json').write_text('{"schema": 1}', 'utf-8')    # of this package
    (store[1]/'pictures.npz').write_bytes(b'')
    found, bad = records.read_all(store[1])
    assert [r.run_id for r in found] == [record.run_id] and bad == []
    for options in ((), ('--verify',), ('--prune',)):
        assert command('--results', store[1], *options) is None
        printed, errors = capfd.readouterr()
        named = [l for l in errors.splitlines() if l.endswith(': not a record; passed over')]
        assert sorted(Path(l.split(': not')[0]).name for l in named) == sorted([*FOREIGN, 'folder.json', 'loop.json'])
    assert {p.name for p in store[1].iterdir()} == {*FOREIGN, 'folder.json', 'loop.json', 'benchmark.json',
                                                    'pictures.npz', f'{record.run_id}.json', f'{record.run_id}.npz'}

def test_a_record_under_another_name_is_damaged_and_not_passed_over(store):
    record = store[2]()
    shutil.copy(store[1]/f'{record.run_id}.json', store[1]/'copy.json')
    (store[1]/f'{run_id(replace(CONFIG, seed=5))}.json').write_bytes(b'half')
    assert 'copy.json' in command('--results', store[1], '--verify')
    assert run_id(replace(CONFIG, seed=5)) in command('--results', store[1])

def test_lists_fit_a_terminal(store, capsys):
    for changes in ({}, dict(seed=1, small_stem=False, split_seed=2, split='swap', batch_size=8, augment=False,
                             image_size=24, patch_size=8)): store[2](replace(CONFIG, **changes))
    capsys.readouterr()
    assert command('--results', store[1]) is None
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert all(any(w in l for l in lines) for w in ('split_seed 2', 'upsampled to 24 px', 'patch_size 8',
                                                    'batch_size 8'))

def test_nobody_reads_on(store):
    for seed in range(2): store[2](replace(CONFIG, seed=seed, epochs=1))
    child = script(store[1], 'unread')
    printed = child.communicate()[0]
    assert printed.splitlines()[-1] == "{'': 141, '--verify': 0, '--show x': 1}", printed
    assert 'roken' not in printed and 'Traceback' not in printed


# ---- trained again
def altered(record, results, **changes):
    "Store a record with other facts, its scores and hashes made to fit"
    record = replace(record, **changes)
    records.write_record(replace(record, test=summarise(record.images)), results)
    return read_record(results/f'{record.run_id}.json')

def edited(record, what, at, value):
    images = {k: v.copy() for k, v in record.images.items()}
    images[what][at] = value
    return images

def everything(folder):
    "All files but the hashes of images, which are written again when these are old enough to be trusted"
    return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob('*') if p.is_file()
            and p.parent.name != 'hashes'}

def test_trained_again_it_is_the_same(store, monkeypatch):
    tree, results, go = store
    before = go(replace(CONFIG, target='subclass'), keep=True)
    tuned = go(replace(CONFIG, target='subclass', weights=before.run_id, epochs=1))
    broken_off(store, monkeypatch, replace(CONFIG, seed=4))
    kept = everything(results.parent)
    for record in (before, tuned):
        found = rerun_record(record, tree, results)
        assert found.same and found.arrays == found.epochs == {} and found.loss == found.predictions == 0
        assert found.accuracy == [record.test['accuracy']]*2 and found.images == record.data['test']
    assert everything(results.parent) == kept
    file = weights_file(before.run_id)
    file.write_bytes(b'other weights')
    # the pre-training was trained again, elsewhere
    assert rerun_record(tuned, tree, results).same and file.read_bytes() == b'other weights'

def test_a_broken_off_run_is_not_gone_on_with(store, monkeypatch):
    "Checkpoints of the very run that is audited: neither read nor removed"
    broken_off(store, monkeypatch)
    place, = (store[1].parent/'cache/runs').iterdir()
    shutil.copytree(place/'checkpoints', store[1].parent/'kept')
    record = store[2]()
    shutil.copytree(store[1].parent/'kept', place/'checkpoints')
    batches, batch = [], Learner.one_batch
    monkeypatch.setattr(Learner, 'one_batch', lambda self, *a: (batches.append(self.epoch) if self.training else None,
                                                                batch(self, *a)))
    assert rerun_record(record, store[0], store[1]).same and set(batches) == {0, 1, 2}
    assert [p.name for p in (place/'checkpoints').iterdir()] == [p.name for p in (store[1].parent/'kept').iterdir()]

def test_what_differs_is_found(store):
    tree, results, go = store
    record = go()
    wrong = int(np.flatnonzero(record.images['prediction'] != record.images['label'])[0])
    tiny = np.nextafter(record.images['loss'][3], np.float32(9))
    rows = [dict(row, train_loss=row['train_loss']+(i == 1)) for i, row in enumerate(record.epochs)]
    for changes, arrays, epochs, predictions, loss in [
            (dict(images=edited(record, 'loss', 3, tiny)), dict(loss=1), {}, 0,
             float(tiny)-float(record.images['loss'][3])),
            (dict(images=edited(record, 'confidence', slice(0, 4), 0)), dict(confidence=4), {}, 0, 0),
            (dict(images=edited(record, 'prediction', wrong, record.images['label'][wrong]), code=None),
             dict(prediction=1), {}, 1, 0),
            (dict(epochs=rows), {}, dict(train_loss=1), 0, 0)]:
        found = rerun_record(altered(record, results, **changes), tree, results)
        assert not found.same and (found.arrays, found.epochs, found.predictions) == (arrays, epochs, predictions)
        assert found.loss == pytest.approx(loss, abs=1e-12)
        assert (found.accuracy[0] == found.accuracy[1]) == (predictions == 0)
        assert set(found.differ) <= {'commit', 'clean'}
    other = altered(record, results, images=edited(record, 'loss', 3, tiny),
                    versions=record.versions | dict(torch='1.0'), hardware=record.hardware | dict(name='Z80'))
    found = rerun_record(other, tree, results)
    assert found.differ['torch'] == ['1.0', record.versions['torch']]
    assert found.differ['machine'] == ['Z80', record.hardware['name']]

def test_times_are_no_difference(store):
    record = store[2]()
    rows = [row | {k: 1e6 for k in row if 'second' in k} for row in record.epochs]
    assert rows != record.epochs
    assert rerun_record(altered(record, store[1], epochs=rows, seconds=1., memory_mib=7), store[0], store[1]).same

def test_nan_is_nan():
    loss = np.array([1, np.nan, np.inf, -0.], np.float32)
    images = dict(index=np.arange(4), label=np.zeros(4, int), prediction=np.zeros(4, int), loss=loss)
    def made(**changes):
        return records.Record(CONFIG, {}, [dict(valid_loss=float('nan'))], dict(accuracy=1.), 1, '', '', 1, 1., '', {},
                              {}, images | changes)
    assert compare_records(made(), made(loss=loss.copy())).same
    # -0. is another bit
    assert compare_records(made(), made(loss=np.array([1, np.nan, np.inf, 0.], np.float32))).arrays == dict(loss=1)
    assert compare_records(made(), made(loss=loss.astype(float))).arrays == dict(loss=4)

def test_resvit_runs_trains_again(store, capsys, tmp_path):
    tree, results, go = store
    made = [go(replace(CONFIG, seed=s, epochs=1)) for s in range(4)]
    altered(made[2], results, images=edited(made[2], 'loss', 0, 99.))
    images = '--data', 'image_tree', '--data_dir', tree
    drawn = []
    for _ in range(2):
        assert command('--results', results, '--rerun', 2, '--seed', 3, '--out', tmp_path/'new/audit.json',
                       *images) is None
        facts = json.loads((tmp_path/'new/audit.json').read_text('utf-8'))
        drawn.append([c['run_id'] for c in facts['comparisons']])
        words = audit.audit_words(*audit.read_audit(tmp_path/'new'))
        assert 'drawn at random from 4 (seed 3)' in words
        assert (f'`{made[2].run_id}` differs' in words) == (made[2].run_id in drawn[-1])
        assert facts['seed'] == 3 and all(c['same'] == (c['run_id'] != made[2].run_id) for c in facts['comparisons'])
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 2
    capsys.readouterr()
    assert command('--results', results, '--rerun', 50, *images) is None    # a difference is a finding, not an error
    printed = capsys.readouterr().out
    assert '4 of 4 records that can be trained here (of 4 in all)' in printed and '3 of 4 gave the same bits' in printed
    assert f'{made[2].run_id}: differs' in printed and 'array loss: 1 entries differ' in printed
    assert printed.count(': the same bits') == 3
    said = [l for l in printed.splitlines() if ' epoch ' not in l]
    assert max(map(len, said)) <= 80 and not list(results.glob('.*')) and len(list(results.iterdir())) == 8

@pytest.mark.parametrize('text',
                         ['', '[]', '{"comparisons": []}',
                          '{"schema": 1, "comparisons": [{"run_id": "a"}], "of": 3, "seed": 0}',
                          '{"of": 3, "seed": 0, "comparisons": {"a": 1}, "schema": 1}',
                          '{"schema": 2, "of": 3, "seed": 0, "comparisons": []}'])
def test_an_audit_that_cannot_be_read(text, tmp_path):
    (tmp_path/'audit.json').write_text(text, 'utf-8')
    with pytest.raises(InputError,
                       match=r'^audit .*audit.json: cannot be read \(\w+\): expected what `resvit_runs --rerun N '
                             r'--out` writes$'): audit.read_audit(tmp_path)
    assert not records.passed_over(tmp_path)    # it is ours

def test_an_audit_that_cannot_be_made(store, tmp_path, capsys):
    tree, results, go = store
    record = go(replace(CONFIG, epochs=1))
    images = '--results', results, '--data', 'image_tree', '--data_dir', tree
    assert 'rerun 0: expected at least 1' in command(*images, '--rerun', 0)
    assert 'expected a name that ends in .json' in command(*images, '--rerun', 1, '--out', tmp_path)
    (tmp_path/'a.json').mkdir()
    assert 'a folder: expected a file' in command(*images, '--rerun', 1, '--out', tmp_path/'a.json')
    assert "data 'cats': expected one of" in command('--results', results, '--data', 'cats')
    assert command('--results', results, '--rerun', 1) is None
    assert '0 of 0 records that can be trained here (of 1 in all)' in capsys.readouterr().out
    Image.new('RGB', (16,16)).save(next((tree/'a/a1').iterdir()))
    assert command(*images, '--rerun', 1) == f'record {record.run_id}: made from other data' + command(*images,
        '--rerun', 1).split('made from other data')[1]
    assert not (tmp_path/'audit.json').exists()

def snapshot(folder): return {p: p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}

def test_an_audit_replaces_nothing_but_an_audit(store, tmp_path):
    tree, results, go = store
    record = go(replace(CONFIG, epochs=1))
    damaged = results/'fractals-subclass-vit_tiny-0123456789.json'
    shutil.copy(results/f'{record.run_id}.json', tmp_path/'renamed.json')
    for path in (damaged, tmp_path/'forensics.json', tmp_path/'list.json'):
        path.write_text('[1]' if path.stem == 'list' else '{"schema": 1, "of": 3}', 'utf-8')
    Image.new('RGB', (9, 9)).save(tmp_path/'photo.json', format='png')
    before = snapshot(tmp_path)
    outs = [results/f'{record.run_id}.json', damaged, *(tmp_path/f'{n}.json' for n in ('renamed', 'forensics', 'list',
                                                                                         'photo'))]
    for out in outs:
        said = command('--results', results, '--rerun', 1, '--data', 'image_tree', '--data_dir', tree, '--out', out)
        assert f'out {out}: there already, and not from this command: expected another name' in said
    for out in (results/f'{record.run_id}.npz', tree/'a/a1/0.png', 'notes'):
        assert 'expected a name that ends in .json' in command('--results', results, '--rerun', 1, '--out', out)
    assert snapshot(tmp_path) == before

@pytest.mark.parametrize('options, message', [
    (('--verify', '--prune'), 'verify and prune: expected one of show, model, verify, rerun, prune'),
    (('--show', 'x', '--rerun', 1), 'show and rerun: expected one of'),
    (('--out', 'a.json'), 'out a.json: not used here: expected it with rerun'),
    (('--verify', '--seed', 4), 'seed 4: not used here'),
    (('--show', 'x', '--pretrain_dir', '.'), 'pretrain_dir .: not used here'),
    (('--data_dir', '.'), 'data_dir .: not used here: expected it with verify, rerun or model'),
    (('--prune', '--data_dir', '.'), 'data_dir .: not used here'), (('--show', ''), "show '': expected a value"),
    (('--rerun', 2, '--data_dir', 'gone'), 'data_dir gone: folder or archive missing'),
    (('--rerun', 2, '--pretrain_dir', 'gone'), 'pretrain_dir gone: folder or archive missing')])
def test_options_of_resvit_runs_that_would_be_ignored(options, message, store):
    said = command('--results', store[1], *options)
    assert said.startswith('resvit_runs: error: ') and message in said and '\n' not in said

def test_records_of_another_tree_are_noticed_before_any_training(store, tmp_path, monkeypatch):
    tree, results, go = store
    old = go(replace(CONFIG, epochs=1, seed=3))
    Image.new('RGB', (16, 16)).save(next((tree/'b/b1').iterdir()))
    monkeypatch.setattr(runs, 'train', None); monkeypatch.setattr(workers, 'train_all', None)
    before = snapshot(results)
    configs = [replace(CONFIG, epochs=1, seed=s) for s in range(5)]
    with pytest.raises(InputError, match=f'record .*{old.run_id}.json: made from other data'):
        workers.run_all(configs, results, tree)
    plan = Plan('vit', 'own', find_profile('smoke', 'image_tree'), dict(all=configs), [])
    with pytest.raises(InputError, match=f'record .*{old.run_id}.json: made from other data'):
        train_missing([plan], results, tree)
    assert snapshot(results) == before


# ---- a whole reproduction
def test_killed_reproduction_loses_nothing(tmp_path):
    sys.path.insert(0, str(Path(__file__).parent))
    from faults import inject
    phases, lost, rounds = inject(tmp_path, kills=2, only='transfer', seed=1, longest=12, site=False)
    assert len(phases) == 2 and lost == []


# ---- a cluster
def test_a_cluster_gives_the_same_bits(tmp_path, capfd):
    from dask.distributed import LocalCluster
    configs = [replace(CONFIG, seed=s) for s in (0, 1)]
    here = [runs.run(c, tmp_path/'here', plant(tmp_path/'tree')) for c in configs]
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        there = workers.run_all(configs, tmp_path/'there', tmp_path/'tree', cluster=local.scheduler_address)
    for a, b in zip(here, there):
        assert a.epochs[-1]['train_loss'] == b.epochs[-1]['train_loss']
        assert np.array_equal(a.images['loss'], b.images['loss'])
    assert sorted(p.name for p in (tmp_path/'here').iterdir()) == sorted(p.name for p in (tmp_path/'there').iterdir())

def test_a_cluster_that_cannot_be_used(tmp_path, monkeypatch):
    from dask.distributed import LocalCluster
    with pytest.raises(InputError,
                       match='cluster tcp://127.0.0.1:9: no answer: expected the address of a dask scheduler'):
        workers.run_all([CONFIG], tmp_path/'results', cluster='tcp://127.0.0.1:9')
    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as local:
        with pytest.raises(InputError,
                           match='runs several tasks in one process: expected workers started with --nthreads 1'):
            workers.run_all([CONFIG], tmp_path/'results', cluster=local.scheduler_address)
    monkeypatch.setitem(sys.modules, 'dask.distributed', None)
    with pytest.raises(InputError,
                       match=r"cluster here: dask is not installed: expected pip install 'resvit_nb\[cluster\]'"):
        workers.run_all([CONFIG], tmp_path/'results', cluster='here')
    assert not (tmp_path/'results').exists()


if __name__ == '__main__': globals()[sys.argv[2]](Path(sys.argv[1]))

def test_a_folder_of_records_that_nobody_may_read(tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(InputError, match='expected a folder of records that can be read'): records.read_all(tmp_path)
