"Looking inside: networks, layers, classes and images that do not fit, and unusual ways of use."
import copy
import pytest, torch
from torch import nn
from resvit_nb.data import InputError
from resvit_nb.interpret import (attention_maps, default_stage, first_filters, grad_cam, map_similarity, position_similarity,
                                 rollout_heat, watch)
from resvit_nb.resnet import resnet50
from resvit_nb.vit import ViT

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
    assert refused(position_similarity, resnet) == "model: expected a ViT, with position embeddings pos_embed, got 'ResNet'"
    assert refused(first_filters, nn.Linear(2, 2)).startswith('model: expected one whose first layer is a convolution over 3 channels, got')

def test_wrong_layer(resnet, vit):
    wanted = 'layer: expected one with feature maps (B, K, h, w)'
    assert refused(grad_cam, vit, images, layer='blocks.0') == f"{wanted}, got 'blocks.0 with (2, 65, 48)'"
    assert refused(grad_cam, resnet, images, layer='layer5') == "layer: expected the name of a module of ResNet, got 'layer5'"

def test_wrong_classes_and_images(resnet):
    assert refused(grad_cam, resnet, images, classes=[0]) == 'classes: expected one for each of 2 images, got (1,)'
    message = refused(grad_cam, resnet, torch.zeros(1, 3, 8, 8))
    assert message == 'images: expected sides that leave the first stage at least 4x4, got (1, 3, 8, 8)'
    assert refused(map_similarity, ramp, ramp[0]) == 'maps: expected two of one shape (B, H, W), got ((1, 2, 3), (2, 3))'
