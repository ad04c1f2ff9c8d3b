"""ResNet-50 and ResNet-18 (He et al. 2016) with stride 1 in the last two stages."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import ResNet, ResNet18_Weights, ResNet50_Weights, resnet18, resnet50

from dlib.encoders.base import Encoder, stride_one


class ResNetEncoder(Encoder):
    """torchvision's ResNet; maps at sides 1, 1/2, 1/4, 1/8, 1/8, 1/8 of the input's.

    Args:
        net: the network whose layers it uses.
    """

    base_rate_prefixes = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.")

    def __init__(self, net: ResNet) -> None:
        super().__init__()
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        stride_one([self.layer3, self.layer4])

    @property
    def cam_layer(self) -> nn.Module:
        """``layer4``, which ends with the last ReLU."""
        return self.layer4

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [x, self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[1])
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            features.append(x)
        return features


class ResNet50Encoder(ResNetEncoder):
    """ResNet-50."""

    out_channels = (3, 64, 256, 512, 1024, 2048)
    imagenet_url = ResNet50_Weights.IMAGENET1K_V1.url

    def __init__(self) -> None:
        super().__init__(resnet50(weights=None))


class ResNet18Encoder(ResNetEncoder):
    """ResNet-18."""

    out_channels = (3, 64, 64, 128, 256, 512)
    imagenet_url = ResNet18_Weights.IMAGENET1K_V1.url

    def __init__(self) -> None:
        super().__init__(resnet18(weights=None))
