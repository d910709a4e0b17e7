"Looking inside: networks, layers, classes and images that do not fit, and unusual ways of use."
import copy
from pathlib import Path
import matplotlib.pyplot as plt, numpy as np, pandas as pd, pytest, timm, torch
from PIL import Image
from fastai.torch_core import TensorCategory, TensorImage
from torch import nn
from torch.nn import functional as F
from resvit_nb.core import InputError
from resvit_nb.resnet import resnet50
from resvit_nb.vit import ViT
from resvit_nb.model_info import ModelInfo
from resvit_nb.models import create_model
from resvit_nb.model_folders import load_model, save_model
from resvit_nb.predict import batch_of
from resvit_nb.pictures import decode_image
from resvit_nb.interpret import (
    as_batch, attention_maps, class_token_map, default_stage, first_filters, grad_cam, attention_rollout,
    map_similarity, plot_attention, plot_filters, plot_positions,
    plot_rows, position_similarity, rollout_heat)

STAGES = 'a network with feature maps in stages named layer1, layer2, ...'
ATTENTION = 'a ViT, with modules named attn.softmax'
images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
ramp = torch.arange(6.).reshape(1, 2, 3)


@pytest.fixture
def resnet():
    torch.manual_seed(0)
    return resnet50(3, width=8, zero_init_last=False).eval()

@pytest.fixture
def vit():
    torch.manual_seed(0)
    return ViT(img_size=32, patch_size=4, num_classes=3, dim=48, depth=3, heads=3).eval()

def refused(f, *args, **kwargs):
    "The message of the InputError that `f` ends with; it has to be a single line"
    with pytest.raises(InputError) as error: f(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_wrong_network(resnet, vit):
    assert refused(attention_maps, resnet, images) == f"model: expected {ATTENTION}, got 'ResNet'"
    assert refused(rollout_heat, resnet, images) == f"model: expected {ATTENTION}, got 'ResNet'"
    assert refused(grad_cam, vit, images) == f"model: expected {STAGES}, got 'ViT'"
    assert refused(position_similarity,
                   resnet) == "model: expected a ViT, with position embeddings pos_embed, got 'ResNet'"
    assert refused(first_filters,
                   nn.Linear(2,
                             2)).startswith('model: expected one whose first layer is a convolution over 3 channels, '
                                            'got')

def test_wrong_layer(resnet, vit):
    wanted = 'layer: expected one with feature maps (B, K, h, w)'
    assert refused(grad_cam, vit, images, layer='blocks.0') == f"{wanted}, got 'blocks.0 with (2, 65, 48)'"
    assert refused(grad_cam, resnet, images,
                   layer='layer5') == "layer: expected the name of a module of ResNet, got 'layer5'"

def test_wrong_classes_and_images(resnet):
    assert refused(grad_cam, resnet, images, classes=[0]) == 'classes: expected one for each of 2 images, got (1,)'
    message = refused(grad_cam, resnet, torch.zeros(1, 3, 8, 8))
    assert message == 'images: expected sides that leave the first stage at least 4x4, got (1, 3, 8, 8)'
    assert refused(map_similarity, ramp,
                   ramp[0]) == 'maps: expected two of one shape (B, H, W), got ((1, 2, 3), (2, 3))'


class Twice(nn.Module):
    "Logits of a small network that calls its one ReLU three times, and never its `spare` layer"
    def __init__(self):
        super().__init__()
        self.layer1, self.layer2, self.relu = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3,
            padding=1), nn.ReLU(inplace=True)
        self.spare, self.fc, self.pair = nn.Conv2d(6, 6, 1), nn.Linear(6, 4), nn.MultiheadAttention(6, 2,
            batch_first=True)
        self.last = nn.Identity()
    def forward(self, x):
        x = self.relu(self.layer2(self.relu(self.layer1(x))))
        self.ignored = self.last(2*x)
        mean = x.mean((2, 3))
        return self.fc(self.relu(self.pair(mean[:, None], mean[:, None], mean[:, None])[0][:, 0] + mean))

class Shared(nn.Module):
    "One stage that is called three times, then another"
    def __init__(self):
        super().__init__()
        self.layer1, self.layer2, self.fc = nn.Conv2d(3, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 2, 1), nn.Linear(3, 2)
    def forward(self, x): return self.fc(self.layer2(self.layer1(self.layer1(self.layer1(x)))).mean((2, 3)))

def test_a_module_called_several_times_is_read_at_its_last_call():
    import torchvision
    torch.manual_seed(0)
    net, x = torchvision.models.resnet18(num_classes=3).eval(), torch.randn(3, 3, 96, 96)
    classes = torch.tensor([0, 1, 2])
    at_block, at_relu = (grad_cam(net, x, classes, layer) for layer in ('layer3.1', 'layer3.1.relu'))
    assert at_block.amax() == 1 and torch.equal(at_block, at_relu)
    assert default_stage(Shared(), torch.randn(2, 3, 64, 64)) == 'layer2'   # 4x4; layer1 ends in 8x8
    assert default_stage(Shared(), torch.randn(2, 3, 32, 32)) == 'layer1'

def test_layers_that_the_answer_does_not_come_from():
    net = Twice()
    assert refused(grad_cam, net, images,
                   layer='spare') == "layer: expected a module that is called in the forward pass, got 'spare'"
    assert refused(grad_cam, net, images,
                   layer='last') == "layer: expected a module that the logits depend on, got 'last'"
    assert refused(grad_cam, net, images,
                   layer='pair').startswith('layer: expected one with feature maps (B, K, h, w), got')
    assert refused(grad_cam, net, images,
                   layer='fc') == "layer: expected one with feature maps (B, K, h, w), got 'fc with (2, 4)'"

@pytest.mark.parametrize('classes, got', [([0, 3], 3), ([-1, 0], -1), (torch.tensor([0., 1.]), 0.), ([0, 2**40], 2**40),
                                          ([.5, 1], .5)])
def test_classes_that_are_none(resnet, classes, got):
    assert refused(grad_cam, resnet, images, classes) == f'classes: expected whole numbers from 0 to 2, got {got!r}'

@pytest.mark.parametrize('classes', [[0, 2], (0, 2), torch.tensor([0, 2], dtype=torch.uint8),
                                     torch.tensor([0, 2], dtype=torch.int32)])
def test_classes_of_any_kind(resnet, classes):
    assert torch.equal(grad_cam(resnet, images, classes), grad_cam(resnet, images, torch.tensor([0, 2])))

@pytest.mark.parametrize('bad', [(255*images.abs()).to(torch.uint8), images[0], images[:0], images.long(),
                                 images.numpy(),
                                 'a.png', Path('a.png'), Image.new('RGB', (32, 32)), None, [images[0]]],
                                 ids=lambda b: type(b).__name__)
def test_images_that_a_network_does_not_take(resnet, vit, bad):
    for f, net in ((grad_cam, resnet), (default_stage, resnet), (attention_maps, vit), (rollout_heat, vit)):
        message = refused(f, net, bad)
        # these networks do not say how their images were normalised
        picture = isinstance(bad, (str, Path, Image.Image))
        assert message.startswith('images: a picture, and a network that does not say' if picture
                                  else 'images: expected a floating-point tensor (B, 3, H, W), normalised as in '
                                       'training, got ')
    assert not any(m._forward_hooks for net in (resnet, vit) for m in net.modules())

@pytest.mark.parametrize('dtype', [torch.float64, torch.float16, torch.bfloat16])
def test_images_of_another_precision(resnet, vit, dtype):
    rounded = images.to(dtype).float()
    assert torch.equal(grad_cam(resnet, images.to(dtype)), grad_cam(resnet, rounded))
    assert torch.equal(rollout_heat(vit, images.to(dtype)), rollout_heat(vit, rounded))
    assert torch.isfinite(grad_cam(copy.deepcopy(resnet).to(torch.bfloat16), images)).all()

def test_frozen_and_without_gradients(resnet):
    wanted, frozen = grad_cam(resnet, images), copy.deepcopy(resnet).requires_grad_(False)
    with torch.no_grad(): assert torch.equal(grad_cam(frozen, images), wanted)
    assert not any(p.requires_grad for p in frozen.parameters())

@pytest.mark.parametrize('classes', ['poodle', ['poodle', 'pug'], [None, 1], [[0], [1, 2]]])
def test_classes_are_numbers(resnet, classes):
    assert refused(grad_cam, resnet, images, classes) == f'classes: expected whole numbers from 0 to 2, got {classes!r}'

class Answers(nn.Module):
    "One stage, and an answer of any kind"
    def __init__(self, answer):
        super().__init__()
        self.layer1, self.fc, self.answer = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4, 3), answer
    def forward(self, x): return self.answer(self.fc(self.layer1(x).mean((2, 3))))

@pytest.mark.parametrize('answer, got', [(lambda y: (y, y), "'tuple'"), (lambda y: dict(logits=y), "'dict'"),
                                         (lambda y: None, "'NoneType'"),
                                         (lambda y: y[..., None], 'torch.Size([2, 3, 1])')])
def test_networks_that_answer_with_something_else(answer, got):
    assert refused(grad_cam, Answers(answer), images) == f'model: expected one that puts out logits (B, C), got {got}'

def test_what_is_no_network(resnet):
    assert refused(grad_cam, Answers(torch.Tensor.detach),
                   images) == "model: expected logits that have a gradient, got 'Answers'"
    for bad in (None, len, resnet.state_dict()):
        for f in (grad_cam, attention_maps):
            assert refused(f, bad, images) == f'model: expected a network, got {type(bad).__name__!r}'

def test_maps_and_rows_that_do_not_fit(vit, tmp_path):
    maps = attention_maps(vit, images)
    assert refused(class_token_map, maps,
                   (7, 9)) == 'weights: expected rows of 64, for a grid of (7, 9), got (3, 2, 3, 65, 65)'
    assert refused(attention_rollout, maps[0]) == 'maps: expected (depth, B, heads, N+1, N+1), got (2, 3, 65, 65)'
    for rows, titles in (({}, None), ({'a': images, 'b': images[:1]}, None), ({'a': images[:1], 'b': images}, None),
                         ({'a': images}, ['one']), ({'a': images[:0]}, None), ({'a': [], 'b': []}, None),
                         ({'a': None}, None)):
        assert refused(plot_rows, rows,
                       titles).startswith('rows: expected as many pictures in each, at least one, and as many titles, '
                                          'got [')
    (tmp_path/'x.png').write_text('<html>', 'utf-8')
    for path, wrong in ((tmp_path/'x.png', 'not a readable image'), (tmp_path/'nowhere.png', 'image missing')):
        assert refused(plot_rows, {'a': [path]}).startswith(f'{path}: {wrong}')
        assert refused(plot_attention, path, maps[0]).startswith(f'{path}: {wrong}')
    for bad in (images, images[:, 0, 0], 3, [None], [torch.zeros(3, 0, 4)], [torch.zeros(2, 5, 5)]):
        if bad is not images:
            assert refused(plot_rows,
                           {'a': bad}).startswith('picture: expected an image (3, H, W) or a map (H, W), got (')
        assert refused(plot_attention, images[0], maps[0, 0] if bad is images
                       else np.zeros((2, 0, 4, 4))).startswith('maps: expected (depth, heads, rows, columns), got (')
    assert refused(plot_rows, {'a': [{}]}) == "picture: expected numbers in an array, got 'dict'"
    assert refused(plot_rows, [images]) == "rows: expected name -> pictures, got 'list'"
    assert plt.get_fignums() == []    # a refusal leaves no empty figure
    for f, what in ((plot_filters, 'filters'), (plot_positions, 'similarities')):
        assert refused(f, {}).startswith(f'{what}: expected those of at least one network')
        for bare in (torch.rand(4, 3, 2, 2), [images], None):
            assert refused(f, bare) == f"{what}: expected title -> array, got '{type(bare).__name__}'"
    assert 'with several patches' in refused(plot_positions, {'a': position_similarity(ViT(img_size=8, patch_size=8,
        num_classes=2, dim=48, depth=1, heads=3))})
    plt.close('all')

def test_maps_of_any_precision_are_compared():
    a, b = torch.rand(2, 5, 5, requires_grad=True), torch.rand(2, 5, 5)
    np.testing.assert_allclose(map_similarity(a, b), map_similarity(a.detach(), b))
    np.testing.assert_allclose(map_similarity(a.bfloat16(), b), map_similarity(a.detach().bfloat16().float(), b))

def test_under_inference_mode(resnet, vit):
    wanted = grad_cam(resnet, images), rollout_heat(vit, images)
    with torch.inference_mode():
        there = images.clone()
        assert there.is_inference()
        got = grad_cam(resnet, there), rollout_heat(vit, there)
        born = resnet50(3, width=8)
    for a, b in zip(got, wanted): torch.testing.assert_close(a, b)
    assert torch.equal(grad_cam(resnet, there), wanted[0])                # the images remain inference tensors
    message = refused(grad_cam, born, images)
    assert message == "model: expected one made outside of torch.inference_mode, to have gradients, got 'ResNet'"

@pytest.mark.parametrize('wrap', [nn.DataParallel, lambda net: torch.compile(net, backend='eager'),
                                  lambda net: torch.compile(nn.DataParallel(net), backend='eager')],
                                  ids=['parallel', 'compiled', 'both'])
def test_wrapped_networks(resnet, vit, wrap):
    plain, wrapped = copy.deepcopy((resnet, vit)), (wrap(resnet.train()), wrap(vit.train()))
    assert torch.equal(grad_cam(wrapped[0], images), grad_cam(plain[0], images))
    assert torch.equal(grad_cam(wrapped[0], images, layer='layer1.0'), grad_cam(plain[0], images, layer='layer1.0'))
    assert torch.equal(rollout_heat(wrapped[1], images), rollout_heat(plain[1], images))
    assert torch.equal(position_similarity(wrapped[1]), position_similarity(plain[1]))
    assert torch.equal(first_filters(wrapped[0]), first_filters(plain[0]))
    assert resnet.training and vit.training
    assert refused(position_similarity, wrapped[0]).endswith("got 'ResNet'")

@pytest.mark.parametrize('name', ['US$ and CA$', '$x^2', r'$\frac{1}{$', '$$', 'a_b^c'])
def test_class_names_are_drawn_as_they_are(name):
    fig = plot_rows({name: images, 'map': images[:, 0]}, titles=[name, 'other'])
    fig.canvas.draw()
    assert [t.get_text() for t in fig.axes[0].texts] == [name] and fig.axes[0].get_title() == name
    assert not fig.axes[0].title.get_parse_math() and not fig.axes[0].texts[0].get_parse_math()
    plt.close(fig)

def test_pictures_and_paths_are_drawn(tmp_path, vit):
    picture = Image.new('L', (20, 10), 7)
    picture.paste(200, (0, 0, 5, 5))
    picture.save(tmp_path/'picture.png')
    fig = plot_rows({'pictures': [picture, tmp_path/'picture.png', str(tmp_path/'picture.png')]})
    fig.canvas.draw()
    drawn = [np.asarray(ax.get_images()[0].get_array()) for ax in fig.axes]
    # the square in the middle
    assert [d.shape for d in drawn] == [(10, 10, 3)]*3 and all((d == drawn[0]).all() for d in drawn)
    assert np.unique(drawn[0]) == pytest.approx([7/255])
    maps = class_token_map(attention_maps(vit, images), (8, 8))[:, 0]
    plt.close(plot_attention(picture, maps)); plt.close(fig)

def drawn(fig):
    "The arrays that a figure of rows shows"
    arrays = [np.asarray(ax.get_images()[0].get_array(), np.float32) for ax in fig.axes if ax.get_images()]
    plt.close(fig)
    return arrays

def odd_pictures(folder):
    "Files that a viewer shows in another way than their bytes are"
    values = np.random.default_rng(0).integers(0, 256, (21, 13, 4), dtype=np.uint8)
    turned = Image.Exif(); turned[0x112] = 8
    Image.fromarray(values[..., 0].astype(np.uint16) << 8).save(folder/'grey.png')
    Image.fromarray(values[..., :3]).save(folder/'turned.png', exif=turned)
    Image.fromarray(values[..., :2]).save(folder/'half.png')
    Image.fromarray(values[..., 0]).save(folder/'colour.png', transparency=int(values[9, 6, 0]))
    return [folder/f'{name}.png' for name in ('grey', 'turned', 'half', 'colour')]

def test_a_picture_is_drawn_as_the_network_sees_it(tmp_path, vit):
    paths = odd_pictures(tmp_path)
    seen = [decode_image(path, 13, 'picture').transpose(1, 2, 0)/255 for path in paths]
    pictures = [Image.open(path) for path in paths]
    maps = class_token_map(attention_maps(vit, images), (8, 8))[:, 0]
    for rows in ({'paths': paths}, {'texts': map(str, paths)}, {'pictures': pictures}):
        for a, b in zip(drawn(plot_rows(rows)), seen, strict=True): np.testing.assert_allclose(a, b, atol=1e-6)
    for path, b in zip(paths, seen): np.testing.assert_allclose(drawn(plot_attention(path, maps))[0], b, atol=1e-6)
    assert drawn(plot_rows({'one': paths[0]}))[0].shape == (13, 13, 3)
    assert drawn(plot_rows({'large': Image.new('RGB', (900, 600), 'white')}))[0].shape == (256, 256, 3)
    # not stretched: white is white
    assert np.stack(drawn(plot_rows({'white': Image.new('RGB', (3, 3), 'white')}))).min() == 1

@pytest.mark.parametrize('of', [lambda v: v.numpy(), lambda v: v.numpy()[::-1].copy()[::-1],
                                lambda v: v.double().numpy(), lambda v: list(v.numpy()), lambda v: v.tolist(),
                                lambda v: v.clone().requires_grad_(), lambda v: (t for t in v)],
                                ids=['numpy', 'reversed', 'double', 'list', 'lists', 'gradient', 'generator'])
def test_arrays_are_drawn_as_tensors_are(of, vit):
    for a, b in zip(drawn(plot_rows({'images': of(images), 'maps': of(images[:, 0])}, pd.Series(['a', 'b']))),
                    drawn(plot_rows({'images': images, 'maps': images[:, 0]})), strict=True):
        np.testing.assert_array_equal(a, b)
    if isinstance(of(images), (np.ndarray, torch.Tensor)):
        maps = class_token_map(attention_maps(vit, images), (8, 8))[:, 1]
        for a, b in zip(drawn(plot_attention(of(images)[1], of(maps))), drawn(plot_attention(images[1], maps)),
                        strict=True): np.testing.assert_array_equal(a, b)
        near, filters = position_similarity(vit), first_filters(vit)
        for plot, values in ((plot_positions, near), (plot_filters, filters)):
            for a, b in zip(drawn(plot({'a': of(values)})), drawn(plot({'a': values})), strict=True):
                np.testing.assert_array_equal(a, b)
        assert torch.equal(map_similarity(of(images[:, 0]), of(images[:, 1])),
                           map_similarity(images[:, 0], images[:, 1]))

@pytest.mark.parametrize('network', ['vit', 'timm'])
def test_autocast_rounds_no_product_of_maps(vit, network):
    torch.manual_seed(0)
    net = vit if network == 'vit' else timm.create_model('vit_tiny_patch16_224', img_size=32, patch_size=8, depth=3,
                                                         num_classes=3).eval()
    wanted = position_similarity(net)
    with torch.autocast('cpu', torch.bfloat16):
        maps, heat, near = attention_maps(net, images), rollout_heat(net, images), position_similarity(net)
        rolled = attention_rollout(maps)
    assert {t.dtype for t in (maps, rolled, heat, near)} == {torch.float32}
    assert torch.equal(rolled, attention_rollout(maps)) and torch.equal(near, wanted)
    grid = (8, 8) if network == 'vit' else (4, 4)
    shares = class_token_map(attention_rollout(maps), grid)[:, None]
    enlarged = F.interpolate(shares, (32, 32), mode='bilinear')[:, 0]
    torch.testing.assert_close(heat, enlarged/enlarged.amax((1, 2), keepdim=True))


# ---- pictures and timm's networks

@pytest.fixture
def photo(tmp_path):
    path = tmp_path/'photo.jpg'
    Image.fromarray((torch.rand(40, 60, 3, generator=torch.Generator().manual_seed(0))*255).byte().numpy()).save(path)
    return path

def folder(tmp_path, name, **sizes):
    torch.manual_seed(0)
    info = ModelInfo(name, 'superclass', ['a', 'b'], ['c', 'd'], [0, 1], 24, 32, [.3, .4, .5], [.2, .3, .4])
    return load_model(save_model(create_model(name, 2, **sizes), info, tmp_path/name))

def test_a_path_is_what_the_test_would_show(tmp_path, photo):
    net = folder(tmp_path, 'resnet50', width=8)
    expected = batch_of(net, torch.from_numpy(decode_image(photo, 24, 'photo')[None]))
    with Image.open(photo) as picture: again = as_batch(net, picture)
    for found in (as_batch(net, photo), as_batch(net, str(photo)), again):
        torch.testing.assert_close(found, expected.cpu(), rtol=0, atol=1e-6)
    assert as_batch(net, [photo, str(photo)]).shape == (2, 3, 32, 32)
    assert torch.equal(grad_cam(net, photo), grad_cam(net, as_batch(net, photo)))

def test_a_path_for_a_vit(tmp_path, photo):
    net = folder(tmp_path, 'vit_tiny', img_size=32, patch_size=8, dim=48, depth=2)
    assert attention_maps(net, photo).shape == (2, 1, 3, 17, 17) and rollout_heat(net, [photo]).shape == (1, 32, 32)

def test_pictures_that_cannot_be_shown(tmp_path, resnet, photo):
    assert 'expected a normalised batch (B, 3, H, W), or a network from load_model or timm' in refused(grad_cam, resnet,
        photo)
    net = folder(tmp_path, 'resnet50', width=8)
    assert refused(grad_cam, net, 'nowhere.png') == 'nowhere.png: image missing'
    assert 'a picture that cannot be read' in refused(grad_cam, net, Image.new('F', (9, 9)))
    for bad in ([], [photo, 3], 3, None):
        assert refused(grad_cam, net, bad).startswith('images: expected a floating-point tensor')

@pytest.mark.parametrize('name', ['vit_tiny_patch16_224', 'deit_tiny_patch16_224', 'eva02_tiny_patch14_224'])
def test_vits_of_timm(name, photo):
    torch.manual_seed(0)
    patch = {'eva02_tiny_patch14_224': 14}.get(name, 16)
    net = timm.create_model(name, img_size=2*patch, depth=2).eval()
    x = torch.randn(2, 3, 2*patch, 2*patch)
    before = net(x)
    maps = attention_maps(net, x)
    assert maps.shape[:2] == (2, 2) and maps.shape[-2:] == (5, 5)
    torch.testing.assert_close(maps.sum(-1), torch.ones(maps.shape[:-1]))
    assert rollout_heat(net, x).shape == (2, 2*patch, 2*patch) and torch.equal(net(x), before)
    assert all(m.fused_attn for m in net.modules() if hasattr(m, 'fused_attn'))

@pytest.mark.parametrize('name, size, first', [('vit_tiny_patch16_224', (32, 48), 1),
                                               ('deit_tiny_distilled_patch16_224', (48, 48), 2),
                                               ('vit_small_patch14_reg4_dinov2', (28, 42), 0),
                                               ('vit_base_patch16_siglip_224', (32, 32), 0)])
def test_positions_of_timms_vits(name, size, first):
    torch.manual_seed(0)
    net = timm.create_model(name, img_size=size, depth=1, num_classes=0)
    torch.nn.init.normal_(net.pos_embed)
    grid, near = net.patch_embed.grid_size, position_similarity(net)
    v = net.pos_embed[0, first:].detach()
    assert near.shape == (*grid, *grid) and len(v) == grid[0]*grid[1]
    torch.testing.assert_close(near[1, 0, 0, 1], F.cosine_similarity(v[grid[1]], v[1], dim=0))
    plt.close(plot_positions({name: near}))

def test_networks_of_timm_that_have_no_such_maps():
    x = torch.randn(1, 3, 64, 64)
    for name, sizes in (('swin_tiny_patch4_window7_224', dict(img_size=64, window_size=4)), ('resnet18', {})):
        assert refused(attention_maps, timm.create_model(name, **sizes), x).startswith('model: expected a ViT')
    assert 'one class token' in refused(rollout_heat, timm.create_model('vit_small_patch16_dinov3', img_size=64,
        depth=1), x)
    for name, sizes in (('vit_small_patch16_dinov3', dict(img_size=64, depth=1)), ('pit_ti_224', {}), ('resnet18', {})):
        assert refused(position_similarity, timm.create_model(name, **sizes)).startswith('model: expected a ViT')

# ---- images and networks of other kinds
def test_a_batch_of_fastai_is_explained_as_a_plain_one(resnet):
    classes = [1, 2]
    expected = grad_cam(resnet, images, classes)
    for x, y in ((TensorImage(images), TensorCategory(classes)), (TensorImage(images), classes),
                 (images, TensorCategory(classes))):
        found = grad_cam(resnet, x, y)
        assert type(found) is torch.Tensor and torch.equal(found, expected)

@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_a_picture_takes_the_precision_of_the_network(dtype, tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(tmp_path/'a.png')
    net = timm.create_model('resnet18', num_classes=3).to(dtype).eval()
    assert as_batch(net, tmp_path/'a.png').dtype == dtype
    assert grad_cam(net, tmp_path/'a.png', layer='layer2').isfinite().all()
    assert default_stage(net, images.double()) == default_stage(net, images.to(dtype))

def timms_vit(size):
    return timm.create_model('vit_tiny_patch16_224', img_size=size, patch_size=8, embed_dim=48, depth=2, num_heads=3,
                             num_classes=3).eval()

def test_a_picture_is_made_as_large_as_timms_vit_wants_it(tmp_path):
    Image.new('RGB', (50, 40), 'red').save(tmp_path/'a.png')
    assert as_batch(timms_vit(48), tmp_path/'a.png').shape == (1, 3, 48, 48)
    assert refused(attention_maps, timms_vit((24, 40)),
                   tmp_path/'a.png') == (
        'images: expected a batch (B, 3, 24, 40), got \'a picture, to be made a square\'')

def test_compiled_in_place_it_is_watched_all_the_same(vit, resnet):
    expected = attention_maps(vit, images), grad_cam(resnet, images, layer='layer2')
    for block in vit.blocks: block.compile(backend='eager')
    resnet.layer2.compile(backend='eager')
    with torch.no_grad(): vit(images); resnet(images)
    assert torch.equal(attention_maps(vit, images), expected[0])
    assert torch.equal(grad_cam(resnet, images, layer='layer2'), expected[1])

def test_timms_checkpointing_is_off_while_we_look():
    net = timm.create_model('resnet18', num_classes=3).eval()
    expected = grad_cam(net, images, layer='layer2')
    net.set_grad_checkpointing()
    assert torch.equal(grad_cam(net, images, layer='layer2'), expected) and net.grad_checkpointing

@pytest.mark.parametrize('draw, given, message', [
    (plot_positions, {'a': torch.ones(4, 4)}, 'similarities: expected '),
    (plot_positions, {'a': torch.ones(1, 1, 1, 1)}, 'similarities: expected '),
    (plot_filters, {'a': torch.ones(4, 5, 3, 3)}, 'filters: expected '),
    (plot_filters, {'a': torch.ones(0, 3, 3, 3)}, 'filters: expected '),
    (plot_filters, {'a': torch.ones(3, 5, 5)}, 'filters: expected ')])
def test_arrays_that_cannot_be_drawn_leave_no_figure(draw, given, message):
    plt.close('all')
    assert refused(draw, given).startswith(message) and plt.get_fignums() == []

@pytest.mark.parametrize('columns', [0, -1, 2., True])
def test_columns_that_are_none(columns):
    plt.close('all')
    assert refused(plot_filters, {'a': torch.ones(4, 3, 3, 3)}, columns).startswith('columns: expected ')
    assert plt.get_fignums() == []

def test_positions_that_are_all_alike_are_drawn():
    for value in (1., float('nan')): plot_positions({'a': torch.full((2, 2, 2, 2), value)}).draw_without_rendering()
    plt.close('all')

def test_maps_as_arrays_and_grids_that_are_none():
    weights = np.full((17, 17), 1/17, np.float32)
    assert torch.allclose(class_token_map(weights, (4, 4)), torch.ones(4, 4))
    assert attention_rollout(np.full((2, 1, 3, 5, 5), .2, np.float32)).shape == (1, 5, 5)
    for grid in (4, (16,), None): assert refused(class_token_map, weights, grid).startswith('grid: expected ')
    for shape in ((0, 1, 3, 5, 5), (2, 1, 3, 5, 4), (1, 3, 5, 5)):
        assert refused(attention_rollout, torch.ones(shape)).startswith('maps: expected ')

@pytest.mark.parametrize('layer', [['layer4'], ('layer4',), 4, b'layer4'])
def test_layers_that_are_no_name(resnet, layer):
    assert refused(grad_cam, resnet, images, layer=layer).startswith('layer: expected the name of a module')
