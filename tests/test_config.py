"Configurations: every bad value is refused in one line, every name is what was published."
import json
from dataclasses import fields, replace
from pathlib import Path
import numpy as np, pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from resvit_nb.core import InputError
from resvit_nb.config import ALLOWED, ALWAYS, PROFILES, RANGES, RunConfig, brief, canonical, find_profile, run_id
from resvit_nb.records import read_record

ROOT = Path(__file__).parent.parent
PUBLISHED = json.loads((Path(__file__).parent/'published_scores.json').read_text('utf-8'))

def test_published_records_are_found_under_their_names_with_their_scores():
    "The table was written before the module was taken apart; records that are added later may be added to it"
    found = {p.stem: p for p in (ROOT/'results').rglob('*-*.json')}
    assert len(PUBLISHED) >= 91 and set(PUBLISHED) <= set(found)
    for name, (accuracy, loss) in PUBLISHED.items():
        facts = json.loads(found[name].read_text('utf-8'))
        config = RunConfig(**facts['config'])
        assert run_id(config) == facts['run_id'] == name
        record = read_record(found[name])
        assert [record.test['accuracy'], record.test['loss']] == [accuracy, loss]
        assert record.config == config
        assert np.mean(record.images['prediction'] == record.images['label']) == pytest.approx(accuracy)

BAD = [
    (dict(drop=1.5), 'drop 1.5: expected a rate of at least 0 and below 1'),
    (dict(drop=-.1), 'drop -0.1: expected a rate'),
    (dict(drop=float('nan')), 'drop nan: expected a rate'),
    (dict(drop='0.5'), "drop '0.5': expected a rate"),
    (dict(drop=True), 'drop True: expected a rate'),
    (dict(target='genus'), "target 'genus': expected one of superclass, subclass"),
    (dict(epochs=0), 'epochs 0: expected an integer of at least 1'),
    (dict(epochs=1.), 'epochs 1.0: expected an integer of at least 1'),
    (dict(epochs=True), 'epochs True: expected an integer of at least 1'),
    (dict(epochs=2**31), 'epochs 2147483648: expected an integer of at least 1, at most 2147483647'),
    (dict(seed=-1), 'seed -1: expected an integer of at least 0'),
    (dict(seed=None), 'seed None: expected an integer of at least 0'),
    (dict(batch_size=1), 'batch_size 1: expected an integer of at least 2'),
    (dict(n_per_subclass=9), 'n_per_subclass 9: expected an integer of at least 10'),
    (dict(image_size=8193), 'image_size 8193: expected an integer of at least 8, at most 8192'),
    (dict(threads=1001), 'threads 1001: expected an integer of at least 1, at most 1000'),
    (dict(model='vgg'), "model 'vgg': expected one of resnet50, vit_tiny"),
    (dict(model=None), 'model None: expected one of resnet50'),
    (dict(augment='yes'), "augment 'yes': expected True or False"),
    (dict(augment=1), 'augment 1: expected True or False'),
    (dict(weights=None), 'weights None: expected none, imagenet, a file, a model folder, or the name of a run'),
    (dict(model='vit_tiny', dim=0), 'dim 0: expected an integer of at least 1'),
    (dict(model='vit_tiny', depth=10**6), 'depth 1000000: expected an integer of at least 1, at most 1000'),
    (dict(depth=6), 'depth 6: resnet50 does not use it: expected it left out'),
    (dict(patch_size=8), 'patch_size 8: resnet50 does not use it: expected it left out'),
    (dict(model='vit_tiny', width=16), 'width 16: vit_tiny does not use it: expected it left out'),
    (dict(model='vit_tiny', small_stem=True), 'small_stem True: vit_tiny does not use it: expected it left out'),
    (dict(resolution=64), 'image_size 32: expected at least the resolution, 64'),
]

@pytest.mark.parametrize('changes, message', BAD, ids=[' '.join(f'{k}={v}' for k, v in c.items()) for c, _ in BAD])
def test_bad_settings_are_refused_in_one_line(changes, message):
    with pytest.raises(InputError) as e: RunConfig(**changes)
    assert message in str(e.value) and '\n' not in str(e.value)

def test_every_field_is_checked():
    for f in fields(RunConfig):
        with pytest.raises(InputError, match=f.name): RunConfig(**{f.name: object()})

def test_profiles_are_refused_by_name():
    for args, message in ((('huge',), "profile 'huge': expected one of smoke, quick, paper"),
                          (('quick', 'cifar100'), 'expected profile paper'),
                          (('paper', 'mnist'), "dataset 'mnist': expected one of cifar100")):
        with pytest.raises(InputError, match=message): find_profile(*args)
    with pytest.raises(InputError, match="target 'genus'"): PROFILES['quick'].config('genus')

# ---- two runs are told apart by their names, and by what is said of them
def values(f):
    if f.name in ALLOWED: return st.sampled_from(list(ALLOWED[f.name]))
    if f.name in RANGES: return st.integers(RANGES[f.name][0], min(RANGES[f.name][1], 300))
    if type(f.default) is bool: return st.booleans()
    if f.name == 'drop': return st.floats(0, 1, exclude_max=True).map(lambda x: round(x, 6))
    return st.sampled_from(['none', 'imagenet', 'a.pth', 'b.pth', 'cifar100-subclass-resnet50-ef8361ff20',
                            'cifar100-subclass-vit_tiny-0f8361ff21'])

def made(settings):
    try: return RunConfig(**settings)
    except InputError: return None

configs = st.fixed_dictionaries({}, optional={f.name: values(f) for f in fields(RunConfig)}).map(made).filter(bool)

@settings(max_examples=300, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(one=configs, changes=st.fixed_dictionaries({}, optional={f.name: values(f) for f in fields(RunConfig)}))
def test_what_differs_is_said(one, changes):
    try: other = replace(one, **changes)
    except InputError: return
    same = one == other
    assert (run_id(one) == run_id(other)) == same == (canonical(one) == canonical(other))
    assert (one.data, brief(one)) != (other.data, brief(other)) or same
    assert brief(one).isprintable()

def test_usual_runs_are_said_in_few_words():
    assert brief(find_profile('paper').config('superclass')) == 'superclass, resnet50, dropout 0, 10 epochs, seed 0'
    said = brief(RunConfig(width=16, small_stem=True, resolution=16, image_size=64, split_seed=3, split='swap',
                           freeze=True, threads=2, weights='w.pth'))
    for phrase in ('width 16', 'small stem', 'resolution 16', 'upsampled to 64 px', 'split_seed 3', 'split swap',
                   'freeze', 'threads 2', 'pre-trained (w.pth)'):
        assert f', {phrase},' in said
    assert set(ALWAYS) <= {f.name for f in fields(RunConfig)}
