"Scores under attack: ties, NaN, infinities, calibration against another implementation; records that are no pair."
from dataclasses import replace
import numpy as np, pytest, torch
from matplotlib import pyplot as plt
from resvit_nb.core import InputError
from resvit_nb.images import NOVEL
from resvit_nb.scores import calibration_bins, calibration_error, score_images, summarise
from resvit_nb.hierarchy import (
    class_names, class_order, find_parent, hierarchy_images, hierarchy_table, plot_confusion,
    superclass_correct_through_subclass, calibration_table, worst_confusions)
from resvit_nb.config import RunConfig
from resvit_nb.records import Record
from fastai.torch_core import TensorCategory, TensorImage
from sklearn.calibration import calibration_curve

nan, inf = float('nan'), float('inf')

@pytest.mark.parametrize('logits, labels, prediction, rank', [
    ([[nan, -inf, 0.], [inf, nan, inf]], [0, 1], [2, 0], [2, 2]),
    ([[nan, nan, nan]], [0], [0], [0]),
    ([[nan, nan, nan]], [2], [0], [2]),
    ([[-inf, -inf, 0.]], [1], [2], [2]),
    ([[0., 0., 0.]], [1], [0], [1]),
    ([[1., 2., 2.]], [2], [1], [1])])
def test_order_of_ties_and_of_what_is_no_number(logits, labels, prediction, rank):
    images = score_images(torch.tensor(logits), torch.tensor(labels))
    assert images['prediction'].tolist() == prediction and images['rank'].tolist() == rank

def test_rank_0_is_a_right_prediction_whatever_the_logits_are():
    rng = np.random.default_rng(0)
    logits = torch.tensor(rng.choice([nan, -inf, inf, 0., 1., -1., 3e38, -3.4e38], (5000, 7)).astype('float32'))
    images = score_images(logits, torch.tensor(rng.integers(0, 7, 5000)))
    assert np.array_equal(images['rank'] == 0, images['prediction'] == images['label'])

def test_logits_and_labels_of_other_kinds():
    logits = torch.tensor([[0., 2., 1.], [3., 0., 1.]])
    expected = score_images(logits, torch.tensor([1, 2]))
    for given in (logits.clone().requires_grad_()*1, TensorImage(logits), logits.int()):
        for labels in (torch.tensor([1, 2], dtype=torch.int32), TensorCategory([1, 2])):
            found = score_images(given, labels)
            assert all(np.array_equal(found[k], v) for k, v in expected.items())

@pytest.mark.parametrize('logits, labels, kind', [((3, 4), (2,), torch.long), ((3,), (3,), torch.short),
                                                  ((2, 4), (2, 1), torch.long), ((2, 4, 1), (2,), torch.long),
                                                  ((2, 4), (2,), torch.float32), ((2, 4), (2,), torch.bfloat16)])
def test_labels_and_logits_that_do_not_fit(logits, labels, kind):
    with pytest.raises(InputError,
                       match=r'^labels torch\.\w+ \(.*\), logits \(.*\): expected whole numbers \(N,\) and logits \(N, '
                             r'C\)$'):
        score_images(torch.zeros(logits), torch.zeros(labels, dtype=kind))

def test_scores_of_a_network_that_diverged():
    lost = summarise(score_images(torch.full((4, 3), nan), torch.tensor([0, 0, 2, 2])))
    assert lost['accuracy'] == .5 and np.isnan([lost['loss'], lost['calibration_error']]).all()

@pytest.mark.parametrize('seed, bins', [(0, 15), (1, 15), (2, 7), (3, 1)])
def test_calibration_against_scikit_learn(seed, bins):
    "Its curve has the means of the bins in use; ours has their sizes as well"
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(size=400)
    correct = rng.uniform(size=400) < confidence**2
    number, right, expected = calibration_bins(confidence, correct, bins)
    used = number > 0
    accuracy, mean = calibration_curve(correct, confidence, n_bins=bins)
    assert np.allclose(right[used]/number[used], accuracy) and np.allclose(expected[used]/number[used], mean)
    assert np.isclose(calibration_error(confidence, correct, bins), (number[used]*np.abs(accuracy-mean)).sum()/400)

def test_confidences_at_the_edges_of_bins():
    number, right, expected = calibration_bins(np.array([0., 1., 1.]), np.array([False, True, False]))
    assert number.tolist() == [1, *[0]*13, 2] and right.tolist() == [0, *[0]*13, 1] and expected[-1] == 2

# Two levels of classes
def made_up(target, label, prediction):
    "A record with these labels and predictions"
    label, prediction = np.array(label), np.array(prediction)
    images = dict(index=np.arange(len(label)), label=label, prediction=prediction, confidence=np.full(len(label), .5),
                  rank=np.where(prediction==label, 0, 5), loss=np.ones(len(label)))
    data = dict(name='made up', fingerprint='f'*64, classes=int(label.max())+1)
    return Record(RunConfig(target=target), data, [], {}, 0, 'float32', 'none', 0, 0., '', {}, {}, images)

def other(record, **images): return replace(record, images={**record.images, **images})
def config(record, **changes): return replace(record, config=replace(record.config, **changes))
def facts(record, **changes): return replace(record, data={**record.data, **changes})

fine = made_up('subclass', [0,0,2,2,1,1,3,3,5,5,4,4], [0,2,2,1,1,3,3,3,0,5,4,0])
coarse = made_up('superclass', [0,0,0,0,1,1,1,1,1,1,2,2], [0,1,0,0,1,1,1,0,0,1,2,1])
parent = find_parent(fine, coarse)
labels = np.array([0,1,0,0,1,1,1,1,1,1,2,2])

@pytest.mark.parametrize('call, message', [
    (lambda: find_parent(coarse, fine), 'trained on superclass and subclass, expected subclass and superclass'),
    (lambda: find_parent(fine, facts(coarse, fingerprint='a'*64)), 'made from different data'),
    (lambda: find_parent(fine, other(coarse, index=np.arange(12)[::-1])), 'tested on different images'),
    (lambda: find_parent(fine, other(coarse, label=labels)),
     'subclass 0 has 2 superclasses among the test images, expected 1'),
    (lambda: find_parent(facts(fine, classes=7), coarse), 'subclass 6 has 0 superclasses'),
    (lambda: superclass_correct_through_subclass(coarse, parent), 'trained on superclass, expected subclass'),
    (lambda: superclass_correct_through_subclass(fine, parent[:3]), 'parent: 3 entries, expected 6'),
    (lambda: hierarchy_images(config(fine, seed=1, drop=.5), coarse), 'differ in drop, seed, expected'),
    (lambda: hierarchy_table([]), 'pairs: none given'),
    (lambda: hierarchy_table([(fine, coarse)]*2), 'seeds 0, 0, expected each seed once'),
    (lambda: hierarchy_table([(fine, coarse), tuple(config(r, seed=1, drop=.5) for r in (fine, coarse))]),
     'differ in their seeds only'),
    (lambda: class_names(coarse, ['bird', 'dog']), 'names: 2 given, expected 3'),
    (lambda: worst_confusions(fine, [0, 0]), 'parent: 2 entries, expected 6'),
    (lambda: class_order(coarse, [0, 0, 1]), 'order: expected each of the 3 classes'),
    (lambda: plot_confusion(fine, parent=[0, 0, 1]), 'parent: 3 entries, expected 6'),
    (lambda: plot_confusion(coarse, parent=[0, 0, 1]), 'trained on superclass, expected subclass')])
def test_what_is_no_pair_is_refused(call, message):
    with pytest.raises(ValueError) as e: call()
    assert message in str(e.value)

@pytest.mark.parametrize('names', [['US$ and CA$', '$x^2', 'a_b*c*'], [r'$\frac{1}{$', '[x](y)', '`<b>`']])
def test_class_names_in_tables_and_figures_are_as_they_are(names):
    parent = [0, 1, 2, 0, 1, 2]
    for ax in (plot_confusion(coarse, names).axes[0], plot_confusion(fine, parent=parent, superclasses=names).axes[0]):
        ax.figure.canvas.draw()
        for labels in (ax.get_xticklabels(), ax.get_yticklabels()):
            assert [t.get_text() for t in labels] == names and not any(t.get_parse_math() for t in labels)
    shown = worst_confusions(fine, parent, [*names, 'd', 'e', 'f'])
    assert {*shown.true, *shown.predicted} & {*names} and {*shown.true, *shown.predicted} <= {*names, *'def'}

def test_every_seed_may_have_its_own_split():
    pairs = [tuple(config(r, seed=n, split_seed=n) for r in (fine, coarse)) for n in (3, 4)]
    assert hierarchy_table(pairs).seeds.tolist() == [2]*len(hierarchy_table(pairs))

def test_the_table_of_bins_gives_the_calibration_error():
    rng = np.random.default_rng(0)
    record = made_up('superclass', rng.integers(0, 3, 500), rng.integers(0, 3, 500))
    record = other(record, confidence=rng.uniform(1/3, 1, 500).astype(np.float32))
    table = calibration_table(record)
    error = (table.images*(table.accuracy-table.confidence).abs()).sum()/500
    assert np.isclose(error, calibration_error(record.images['confidence'],
                                               record.images['prediction']==record.images['label']))

@pytest.mark.parametrize('classes, ticks', [(11, ['0']), (87, ['0', '20', '40', '60', '80'])])
def test_a_confusion_matrix_of_many_classes_has_few_numbers(classes, ticks):
    record = made_up('subclass', np.arange(classes), np.arange(classes))
    ax = plot_confusion(record).axes[0]
    assert not ax.texts and [t.get_text() for t in ax.get_xticklabels()] == ticks
    ax = plot_confusion(record, order=np.arange(classes)[::-1]).axes[0]
    assert len(ax.get_xticks()) == 0
    plt.close('all')

@pytest.mark.parametrize('label', [3, -1, 2**20])
def test_labels_that_no_output_stands_for(label):
    with pytest.raises(InputError, match=f'label {label} out of range: expected 0 to 2'):
        score_images(torch.rand(2, 3), torch.tensor([0, label]))
    assert score_images(torch.rand(2, 3), torch.tensor([0, NOVEL]))['rank'][1] > 2

def test_no_image_has_no_score():
    with pytest.raises(InputError, match='no image to score: expected at least one'):
        score_images(torch.rand(0, 3), torch.zeros(0, dtype=torch.long))
