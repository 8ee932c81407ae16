"""Networks that take images in [0, 1]: the normalisation is their first layer."""

from lightning_smooth.models.conv_small import ConvSmall
from lightning_smooth.models.cyclic import CyclicConvNet
from lightning_smooth.models.fingerprint import fingerprint
from lightning_smooth.models.lenet import LeNet
from lightning_smooth.models.lipschitz import LipschitzConv2d, LipschitzFeatures, convolution_bound
from lightning_smooth.models.motion import Motion
from lightning_smooth.models.normalize import Normalize, normalization
from lightning_smooth.models.pixelcnn import PixelCNN
from lightning_smooth.models.resnet import CifarResNet
from lightning_smooth.models.small import SmallConvNet
from lightning_smooth.models.standardize import Standardized
from lightning_smooth.models.surrogate import SurrogateNetwork
from lightning_smooth.models.timm import TimmModel
from lightning_smooth.models.torchvision import TorchvisionModel
from lightning_smooth.models.vignetted import Vignetted
from lightning_smooth.models.weights import load_weights, read_state_dict
from lightning_smooth.models.wgan import Critic, Generator
from lightning_smooth.models.wide_resnet import WideResNet

__all__ = [
    "CifarResNet",
    "ConvSmall",
    "Critic",
    "CyclicConvNet",
    "Generator",
    "LeNet",
    "LipschitzConv2d",
    "LipschitzFeatures",
    "Motion",
    "Normalize",
    "PixelCNN",
    "SmallConvNet",
    "Standardized",
    "SurrogateNetwork",
    "TimmModel",
    "TorchvisionModel",
    "Vignetted",
    "WideResNet",
    "convolution_bound",
    "fingerprint",
    "load_weights",
    "normalization",
    "read_state_dict",
]
