"A run on its way: what cannot be trained, what it begins with, what it says of its code, and how many run at once."
import gc, json, os, random, shutil, signal, subprocess, sys, threading, weakref
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
import numpy as np, pytest, torch
from resvit_nb import records, runs, workers
from resvit_nb.core import InputError
from resvit_nb.images import as_trained, find_split
from resvit_nb.sources import fractals
from resvit_nb.weights import save_weights
from resvit_nb.model_info import ModelInfo
from resvit_nb.models import create_model
from resvit_nb.model_folders import save_model
from resvit_nb.config import RunConfig, find_profile, run_id
from resvit_nb.records import digest
from resvit_nb.runs import adopt_model, check_data, check_memory, has_weights, keep_model, make_model
from resvit_nb.runs import resvit_train, run

ROOT = Path(__file__).parent.parent
SMALL = find_profile('smoke').config('superclass', drop=.2)

@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv('RESVIT_CACHE', str(tmp_path/'cache'))
    return tmp_path/'results'

# ---- what cannot be trained
@pytest.mark.parametrize('changes', [dict(width=100_000), dict(width=2_000_000_000),
                                     dict(image_size=8192, batch_size=10**6)], ids=str)
def test_what_cannot_fit_into_memory_is_refused(changes):
    with pytest.raises(InputError, match='GiB of memory, and .* are free: expected a smaller network or batch'):
        check_memory(RunConfig(**changes), 87, 10**6, torch.device('cpu'))

def test_a_results_folder_that_cannot_be_written_is_known_before_training(results):
    results.parent.mkdir(exist_ok=True); results.write_text('a file', 'utf-8')
    with pytest.raises(InputError, match='results .*: cannot be written: expected a folder to write to'):
        run(SMALL, results)

def other_model(place):
    "A model folder of another run, where that of a run will be"
    info = ModelInfo('resnet50', 'superclass', ['a', 'b'], ['c', 'd'], [0, 1], 16, 16, [.4]*3, [.3]*3)
    save_model(create_model('resnet50', 2, width=4), info, place)

@pytest.mark.parametrize('harm, message', [
    (lambda place, cache: place.parent.write_text('mine', 'utf-8'), 'models: cannot be written: expected a folder'),
    (lambda place, cache: place.parent.symlink_to('nowhere'), 'models: cannot be written: expected a folder'),
    (lambda place, cache: (place.mkdir(parents=True), (place/'cat.jpg').touch()), 'no model folder'),
    (lambda place, cache: (place.parent.mkdir(), place.symlink_to('nowhere')), 'no model folder'),
    (lambda place, cache: other_model(place), 'the model folder of another run: expected it under another name'),
    (lambda place, cache: (cache/'weights').write_text('mine', 'utf-8'), 'weights: cannot be written')])
def test_a_network_that_could_not_be_kept_is_not_trained(harm, message, results, monkeypatch):
    config = replace(SMALL, n_per_subclass=10)
    cache = results.parent/'cache'
    results.mkdir(parents=True); cache.mkdir(exist_ok=True)
    harm(results/'models'/run_id(config), cache)
    monkeypatch.setattr(runs, 'train', None)
    options = [w for k in ('drop', 'width', 'n_per_subclass', 'resolution', 'image_size', 'epochs')
               for w in (f'--{k}', str(getattr(config, k)))]
    before = sorted(results.rglob('*'))
    with pytest.raises(SystemExit) as left: resvit_train.command([*options, '--results', str(results), '--keep'])
    assert str(left.value.code).startswith('resvit_train: error: ') and message in left.value.code
    assert sorted(results.rglob('*')) == before

@pytest.mark.parametrize('ends', ('finished', 'failed'))
def test_a_run_gives_its_memory_back_without_a_collector(results, monkeypatch, ends):
    networks, keep = [], runs.image_learner
    def watched(*args):
        learn = keep(*args)
        networks.append(weakref.ref(learn.model))
        return learn
    monkeypatch.setattr(runs, 'image_learner', watched)
    if ends=='failed': monkeypatch.setattr(runs, 'evaluate', None)
    gc.disable()
    try: run(SMALL, results)
    except TypeError: pass
    finally: gc.enable()
    assert [n() for n in networks] == [None] and results.exists() == (ends=='finished')

@pytest.mark.parametrize('changes, message', [
    (dict(weights='fractals-subclass-resnet50-0000000000'),
     'expected none, imagenet, a .safetensors or .pth file, a model folder, or a run that has its record in'),
    (dict(weights='nowhere.safetensors'), 'there is no file nowhere.safetensors')], ids=['no run', 'no file'])
def test_weights_that_are_not_there(results, changes, message):
    with pytest.raises(InputError, match=message): run(replace(SMALL, **changes), results)
    assert not results.exists()

def test_weights_of_another_width(results):
    before = run(find_profile('smoke').pretraining, results, keep=True)
    with pytest.raises(InputError, match=r"entry 'conv1.weight': expected \[4, 3, 7, 7\], found \[8, 3, 7, 7\]"):
        run(replace(SMALL, weights=before.run_id, width=4), results)

@pytest.mark.parametrize('argv, message', [
    (('--drop', '1.5'), 'drop 1.5: expected a rate of at least 0 and below 1'),
    (('--drop', 'half'), "argument --drop: invalid float value: 'half' (see --help)"),
    (('--data', 'bird_dog_reptile'), "data 'bird_dog_reptile' is read from disk: expected its folder as data_dir")],
    ids=lambda a: ' '.join(a) if isinstance(a, tuple) else '')
def test_the_command_refuses_in_one_line(results, argv, message):
    with pytest.raises(SystemExit) as left: resvit_train.command([*argv, '--results', str(results)])
    assert left.value.code == f'resvit_train: error: {message}' and not results.exists()

def test_both_commands_look_into_the_same_folder_unless_told():
    from inspect import signature
    from resvit_nb.audit import resvit_runs
    defaults = [signature(command).parameters['results'].default for command in (resvit_train, resvit_runs)]
    assert defaults == ['out/results']*2

# ---- what a run begins with
@pytest.fixture
def begun(results, tmp_path):
    "A record that began with a file of weights, and a function that writes other weights into that file"
    file = tmp_path/'start.safetensors'
    def write(seed):
        torch.manual_seed(seed)
        save_weights(make_model(SMALL, 3), file)
        return digest(file)
    first = write(1)
    record = run(replace(SMALL, weights=str(file)), results)
    assert record.weights == dict(begun=first)
    return record, file, write

def test_other_weights_under_the_same_path_are_another_question(results, begun):
    record, file, write = begun
    path = results/f'{record.run_id}.json'
    kept = path.read_bytes()
    assert run(record.config, results).started == record.started
    other = write(2)
    with pytest.raises(InputError) as e: run(record.config, results)
    assert str(e.value) == (
        f"record {path}: began with other weights (sha256 {record.weights['begun'][:12]}) than {file} holds now "
        f"({other[:12]}): expected another results folder")
    assert path.read_bytes() == kept
    there = run(record.config, results.parent/'other')
    assert there.weights == dict(begun=other) and not np.array_equal(there.images['loss'], record.images['loss'])
    write(1)
    assert run(record.config, results).started == record.started

def test_weights_that_are_gone_leave_the_record(results, begun):
    record, file, write = begun
    file.unlink()
    assert run(record.config, results).started == record.started

def test_the_command_says_it_in_one_line(results, begun):
    record, file, write = begun
    write(2)
    options = [w for k, v in dict(weights=file, drop=.2, width=8, n_per_subclass=10, resolution=16, image_size=16,
                                  epochs=1, results=results).items() for w in (f'--{k}', str(v))]
    with pytest.raises(SystemExit) as left: resvit_train.command(options)
    assert left.value.code.startswith('resvit_train: error: record ') and 'began with other weights' in left.value.code
    assert '\n' not in left.value.code

# ---- the code
COMMITS = """import json, subprocess
from pathlib import Path
from resvit_nb.records import source_commit
outside = source_commit()
for command in (['init', '-q'], ['add', '.'], ['commit', '-qm', 'one']):
    subprocess.run(['git', '-c', 'user.name=a', '-c', 'user.email=a@b', *command], check=True)
clean = source_commit()
Path('resvit_nb/__init__.py').write_text('changed = True', 'utf-8')
print(json.dumps([outside, clean, source_commit()]))"""

def test_a_record_names_the_commit_of_its_code(tmp_path):
    shutil.copytree(ROOT/'resvit_nb', tmp_path/'resvit_nb', ignore=shutil.ignore_patterns('__pycache__'))
    env = os.environ | dict(PYTHONPATH=str(tmp_path))
    said = subprocess.run([sys.executable, '-W', 'ignore', '-c', COMMITS], cwd=tmp_path, env=env, capture_output=True,
                          encoding='utf-8', check=True).stdout
    outside, clean, changed = json.loads(said)
    assert outside == {} and len(clean['commit']) == 40 and clean['clean'] and changed == dict(clean, clean=False)

# ---- imports go down only
def test_no_module_of_this_floor_imports_one_above_it():
    import re
    floor = ['config', 'records', 'runs', 'workers', 'audit']
    for i, name in enumerate(floor):
        imported = re.findall(r'^from \.(\w+) import', (ROOT/f'resvit_nb/{name}.py').read_text('utf-8'), re.M)
        assert not set(floor[i:]) & set(imported), name

# ---- many at once
def test_the_longest_run_is_trained_first_and_the_order_of_records_is_that_of_the_list(results, monkeypatch, capsys):
    configs = [replace(SMALL, epochs=n) for n in (1, 3, 2)]
    trained, train = [], runs.train
    monkeypatch.setattr(runs, 'train', lambda config, *a, **k: (trained.append(config.epochs),
                                                                train(config, *a, **k))[1])
    records = workers.run_all(configs, results, n_jobs=1)
    assert trained == [3, 2, 1] and [len(r.epochs) for r in records] == [1, 3, 2]
    lines = [l for l in capsys.readouterr().out.splitlines() if l.startswith('run ')]
    assert [l.split()[1] for l in lines] == ['1/3', '2/3', '3/3'] and lines[-1].endswith('about 0 s left')
    assert workers.run_all(configs, results, n_jobs=1)[1].started == records[1].started and trained == [3, 2, 1]

def test_time_left_counts_half_of_what_is_under_way():
    ended = [SimpleNamespace(config=replace(SMALL, epochs=2), seconds=20.)]    # ten seconds an epoch
    ahead = [replace(SMALL, epochs=n) for n in (6, 4, 2)]
    assert workers.time_left(ended, ahead, 1) == pytest.approx(120)
    assert workers.time_left(ended, ahead, 2) == pytest.approx((120-30)/2)    # the first of them is half done
    assert workers.time_left(ended, ahead[:1], 2) == pytest.approx(30) and workers.time_left(ended, [], 2) == 0

def test_what_others_begin_with_is_trained_first_and_they_last(results, monkeypatch):
    order, once = [], workers.run
    monkeypatch.setattr(workers, 'run', lambda config, *a: (order.append(config), once(config, *a))[1])
    before = find_profile('smoke').pretraining
    begins, alone = replace(SMALL, weights=run_id(before), epochs=3), replace(SMALL, epochs=2)
    records = workers.run_all([begins, alone, before], results, n_jobs=1, keep=[before])
    assert order == [before, alone, begins] and [r.config for r in records] == [begins, alone, before]

def test_a_model_folder_to_begin_with_is_trained_on_by_several_runs(results):
    folder = keep_model(run(SMALL, results, keep=True), results)
    begin = [replace(SMALL, weights=str(folder), seed=seed) for seed in (1, 2)]
    records = workers.run_all(begin, results, n_jobs=1, keep=begin[:1])
    assert [r.config for r in records] == [adopt_model(c) for c in begin] and has_weights(records[0])
    assert [r.started for r in workers.run_all(begin, results)] == [r.started for r in records]

# ---- other threads
def test_what_other_threads_draw_from_pythons_generator_changes_no_bit(results, monkeypatch):
    alone, loaders = run(SMALL, results), runs.image_loaders
    monkeypatch.setattr(runs, 'image_loaders', lambda *a, **k: (random.random(), loaders(*a, **k))[1])
    disturbed = run(SMALL, results.parent/'elsewhere')
    assert np.array_equal(alone.images['loss'], disturbed.images['loss'])

@pytest.mark.parametrize('cores, gib, jobs', [(8, 100, 8), (8, 7, 2), (8, 1, 1), (1, 100, 1)])
def test_as_many_jobs_as_cores_and_memory_allow(cores, gib, jobs, monkeypatch):
    monkeypatch.setattr(workers, 'cpu_count', lambda: cores)
    monkeypatch.setattr(workers.torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(workers.psutil, 'virtual_memory', lambda: type('Memory', (), dict(available=gib<<30)))
    assert workers.default_jobs() == jobs

@pytest.mark.parametrize('name, error, said', [('ExecutorManagerThread', KeyError, False),
                                               ('ExecutorManagerThread', ValueError, True), ('mine', KeyError, True)])
def test_only_the_error_of_a_task_that_is_gone_is_kept_back(name, error, said, monkeypatch):
    heard = []
    monkeypatch.setattr(threading, 'excepthook', lambda args: heard.append(args.exc_type))
    def fail(): raise error('gone')
    def in_thread(): (thread := threading.Thread(target=fail, name=name)).start(); thread.join()
    with workers.quiet_end(): in_thread()
    assert heard == [error]*said
    in_thread()
    assert heard == [error]*said+[error]    # afterwards all is as before

@pytest.mark.parametrize('split', ['novel:30', '8:1:1-novel:20'])
def test_classes_set_aside_are_no_other_names(split, results):
    data, config = fractals(n_per_subclass=10, resolution=8), RunConfig(target='subclass', split=split)
    names = as_trained(data, parts := find_split(split)(data, 0)).subclasses
    record = SimpleNamespace(config=config, data=dict(fingerprint=data.fingerprint, names=names))
    assert 0 < len(names) < 87 and check_data(record, results, data, None) is record
    trained = int(data.subclass[parts['train'][0]])
    other = replace(data, subclasses=[f'x{n}' if i == trained else n for i, n in enumerate(data.subclasses)])
    # the first records name no class
    assert check_data(SimpleNamespace(config=config, data=dict(fingerprint=data.fingerprint)), results, other, None)
    with pytest.raises(InputError,
                       match=f"made when the class 'x{data.subclasses[trained]}' of fractals was called "
                             f"'{data.subclasses[trained]}': expected another results folder"):
        check_data(record, results, other, None)

def test_pipes_among_records_are_no_wait(tmp_path):
    def late(*_): raise AssertionError('hangs')
    before = signal.signal(signal.SIGALRM, late); signal.alarm(20)
    name = f'resnet50-tiny-subclass-{"0"*10}'
    for pipe in ('notes.json', 'a\x1b.json', f'{name}.json'): os.mkfifo(tmp_path/pipe)
    try: found, bad = records.read_all(tmp_path)
    finally: signal.alarm(0); signal.signal(signal.SIGALRM, before)
    assert found == [] and len(bad) == 1 and 'no file' in bad[0]
    assert sorted(records.passed_over(tmp_path)) == [rf'{tmp_path}/{n}.json: not a record; passed over'
                                                     for n in (r'a\x1b', 'notes')]
