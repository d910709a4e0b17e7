"Attacks on the ten checks: planted mistakes that nobody gave them, honest inputs, bad input"
import tracemalloc
import numpy as np, pandas as pd, pytest, torch
from resvit_nb.core import InputError
from resvit_nb import diagnosis as dx

def honest(n=1500, classes=30, right=.6, seed=5):
    "Predictions that are right at that rate and otherwise any class"
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    return np.where(rng.random(n)<right, y, rng.integers(0, classes, n)), y

@pytest.mark.parametrize('classes, right, n', [(2, .9, 200), (3, .7, 600), (11, .3, 900), (87, .25, 3765),
                                               (100, .05, 5000), (500, .5, 9000)])
def test_silent_on_honest_predictions(classes, right, n):
    p, y = honest(n, classes, right, seed=classes)
    assert dx.diagnose(p, y, [f'c{i}' for i in range(classes)]).found == []

@pytest.mark.parametrize('seed', range(6))
def test_false_alarms_are_rare(seed):
    assert sum(map(bool, dx.false_alarms(15, seed=100+seed)[1])) <= 2

def test_finds_names_in_alphabetical_order():
    p, y = honest()
    names = [f'{(7*i)%30:02} animal' for i in range(30)]
    order = np.array(sorted(range(30), key=lambda i: names[i]))
    report = dx.diagnose(np.argsort(order)[p], y, names)
    assert 'order of the labels' in report.found and 'names in alphabetical order' in report[1].words

def test_finds_two_classes_exchanged():
    p, y = honest(6000, 10, .8)
    assert dx.diagnose(np.array([0, 2, 1, *range(3, 10)])[p], y).found == ['best relabelling']

def test_finds_images_inserted_and_batches_reversed():
    p, y = honest()
    assert 'out of step' in dx.diagnose(np.roll(p, 3), y).found
    assert 'out of step' in dx.diagnose(p[:1488].reshape(-1, 16)[:, ::-1].ravel(), y[:1488], batch=16).found

def test_finds_a_last_tenth_that_fails():
    p, y = honest(3000)
    p = p.copy(); p[-300:] = np.random.default_rng(0).integers(0, 30, 300)
    assert dx.diagnose(p, y).found == ['along the file']

def test_a_test_set_in_order_of_its_classes_is_no_fault():
    p, y = honest(3000)
    order = np.argsort(y, kind='stable')
    assert dx.diagnose(p[order], y[order]).found == []

def test_finds_one_class_novel_classes_and_empty_outputs():
    p, y = honest()
    rng = np.random.default_rng(2)
    assert 'share of one class' in dx.diagnose(np.where(rng.random(1500)<.6, 4, p), y).found
    assert 'classes on one side only' in dx.diagnose(p, np.where(rng.random(1500)<.4, 30, y)).found
    assert 'classes on one side only' in dx.diagnose(np.where(rng.random(1500)<.05, 31, p), y).found

def test_loss_worse_than_guessing_and_losses_of_other_images():
    p, y = honest()
    fair = np.where(p==y, .3, 2.)
    assert dx.diagnose(p, y, losses=fair).found == []
    assert dx.diagnose(p, y, losses=np.where(p==y, .3, 12.)).found == ['loss']
    assert dx.diagnose(p, y, losses=np.roll(fair, 1)).found == ['loss']

def test_shuffled_images_leave_no_link():
    p, y = honest()
    assert 'any link' in dx.diagnose(np.random.default_rng(3).permutation(p), y).found

def test_a_report_reads_well():
    p, y = honest()
    report = dx.diagnose(p, y)
    assert len(report) == 10 and len(repr(report).splitlines()) == 11
    assert repr(report).endswith('0 of 10 checks speak up.')
    assert report._repr_markdown_().count('\n| ') == 11

N = np.arange(60)%3
@pytest.mark.parametrize('args, words', [
    (([], []), 'predictions: empty'), ((N, N[1:]), '60 predictions and 59 labels'),
    ((N[:20], N[:20]), '20 images: expected at least 50'),
    ((N+.25, N), 'predictions[0] is 0.25: expected a class number'), ((N, np.where(N==2, np.nan, N)),
        'labels[2] is nan'),
    ((N, np.where(N==1, np.inf, N)), 'labels[1] is inf'), ((N-1, N), 'predictions[0] is -1: expected 0 or more'),
    ((N, N, list('ab')), 'predictions[2] is 2: expected 0 to 1'), ((N.reshape(2, 30), N), 'predictions (2, 30)'),
    ((N.astype(object), N), 'expected class numbers'), ((['bird']*60, N), 'expected class numbers'),
    ((N>0, N), 'expected class numbers'),
    ((N, N, None, N[1:]), 'losses (59,)'), ((N, N, None, np.full(60, np.nan)), 'losses[0] is nan'),
    ((N, N, None, -1.-N), 'losses[0] is -1.0'),
    ((N, N, None, None, 1), 'batch 1: expected 2 to'), ((N, N, None, None, 61), 'batch 61: expected 2 to'),
    ((N*0, N*0), '1 class: expected at least 2'),
    ((N, N, []), '0 names: expected 2'), ((N*0, N*0, ['a']), '1 names: expected 2'),
    ((N, N, None, ['a']*60), 'losses: expected numbers'), ((N, N*10**9), 'labels[1] is 1000000000: expected'),
    ((N, N, 7), 'names: int, expected a list of names'), ((N, N, {0: 'a', 1: 'b', 2: 'c'}), 'names: dict, expected'),
    ((N, N, 'abc'), 'names: str, expected'),
    ((N, N, {'a', 'b', 'c'}), 'names: set, expected'), ((N, N, np.array(['a', 'b'])),
                                                        'predictions[2] is 2: expected 0 to 1'),
                                                        ((N, N, np.array('a')), 'names: ndarray, expected'),
    ((N, N, iter('a')), '1 names: expected 2'), (([[1], *N[1:]], [[1, 2], *N[1:]]),
                                                 'predictions: expected one class number for each image'),
                                                 ((N, [N, N[1:]]), 'labels: expected one'),
    ((N, N, None, N+1j), 'losses: expected numbers, real ones'), ((N, N, None, (N*1j).tolist()),
        'losses: expected numbers'), ((N, N, None, torch.tensor(N).cfloat()), 'losses: expected numbers'),
        ((N, N, None, pd.Series(N+0j)), 'losses: expected numbers'),
    ((N, N, None, [[1.], *N[1:]]), 'losses: expected numbers'), ((torch.zeros(2, 30), N), 'predictions (2, 30)'),
    ((torch.tensor(N)>0, N), 'expected class numbers'),
    ((torch.tensor(N+.5, dtype=torch.bfloat16), N), 'predictions[0] is 0.5'),
    ((N, N, None, torch.tensor(N-1., requires_grad=True)), 'losses[0] is -1.0'),
    ((N, N, None, None, None), 'batch None: expected 2 to the number of images, 60, as a whole number'),
    ((N, N, None, None, '16'), "batch '16': expected 2"),
    ((N, N, None, None, 16.), 'batch 16.0: expected 2'), ((N, N, None, None, 2.5), 'batch 2.5: expected 2'),
    ((N, N, None, None, True), 'batch True: expected 2'),
    ((N, N, None, None, np.array([8, 8])), 'batch array([8, 8]): expected 2'),
    ((N, N, None, None, -8), 'batch -8: expected 2')])
def test_bad_input_is_one_line(args, words):
    with pytest.raises(InputError) as e: dx.diagnose(*args)
    assert words in str(e.value) and '\n' not in str(e.value)

def test_strings_keep_what_they_should():
    for classes in (1, 9, 10, 11, 87, 99, 100, 101, 1000):
        order = dx.string_order(classes)
        assert sorted(order) == list(range(classes)) and [str(i) for i in order] == sorted(map(str, range(classes)))

@pytest.mark.parametrize('classes', [2, 3, 10])
def test_an_order_of_strings_that_changes_nothing_is_not_seen(classes):
    p, y = honest(2000, classes, .6)
    for how in ('labels sorted as strings', 'predictions sorted as strings'):
        planted = dx.PLANTED[how][0](p, y, np.random.default_rng(0))
        assert np.array_equal(planted[0], p) and np.array_equal(planted[1], y)
    assert dx.diagnose(p, y).found == []

@pytest.mark.parametrize('of', [np.array, pd.Series, pd.Index, tuple, iter,
                                lambda names: pd.Series(names, index=names[::-1]),
                                lambda names: dict.fromkeys(names).keys(),
                                lambda names: pd.Categorical(names), lambda names: (n for n in names)])
def test_names_of_any_kind(of):
    p, y = honest()
    names = [f'{(11*i)%30:02} plant' for i in range(30)]
    order = np.array(sorted(range(30), key=lambda i: names[i]))
    assert repr(dx.diagnose(np.argsort(order)[p], y, of(names))) == repr(dx.diagnose(np.argsort(order)[p], y, names))
    assert repr(dx.diagnose(p, y, torch.arange(30))) == repr(dx.diagnose(p, y, range(30)))

@pytest.mark.parametrize('of', [torch.tensor, pd.Series, list, lambda v: torch.tensor(v, dtype=torch.bfloat16),
                                lambda v: torch.tensor(v, dtype=torch.float16),
                                lambda v: torch.tensor(v, dtype=torch.float32, requires_grad=True),
                                lambda v: torch.tensor(v, dtype=torch.int16)])
def test_predictions_labels_and_losses_of_any_kind(of):
    p, y = honest(700, 20)
    losses = np.where(p==y, .5, 2.)
    assert repr(dx.diagnose(of(p), of(y), losses=of(np.ceil(losses)))) == repr(dx.diagnose(p, y,
        losses=np.ceil(losses)))

@pytest.mark.parametrize('of', [int, np.int64, np.uint8, lambda n: np.array(n), lambda n: torch.tensor(n)])
def test_batch_sizes_of_any_kind(of):
    p, y = honest()
    assert repr(dx.diagnose(p, y, batch=of(25))) == repr(dx.diagnose(p, y, batch=25))
    assert 'batch of 25 ' in repr(dx.diagnose(p, y, batch=of(25)))

@pytest.mark.parametrize('batch', [2, 3, 4000, 8000])
def test_memory_does_not_grow_with_the_square(batch):
    p, y = honest(8000, 10)
    tracemalloc.start()
    dx.diagnose(p, y, batch=batch)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 10e6    # one bool for every step and image: 64 MB; one float for every two batches of two: 128 MB

def test_pairs_within_and_between_batches_by_hand():
    p, y = np.array([0, 1, 2, 0, 1, 1, 2]), np.array([1, 0, 2, 2, 0, 1, 0])
    pairs = lambda i, j: (p[i:i+2, None]==y[None, j:j+2]).mean()
    within, between = ([pairs(i, j) for i in (0, 2, 4) for j in (0, 2, 4) if (i==j)==same] for same in (True, False))
    assert dx.in_batches(p, y, 3, 2) == pytest.approx((np.mean(within), np.mean(between)))
