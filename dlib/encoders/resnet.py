"""ResNet-50 and ResNet-18 (He et al. 2016) with stride 1 in the last two stages."""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights, resnet18, resnet50

from dlib.encoders.base import Encoder, stride_one


class ResNetEncoder(Encoder):
    """torchvision's ResNet; maps at sides 1, 1/2, 1/4, 1/8, 1/8, 1/8 of the input's.

    Args:
        depth: 18 or 50.
    """

    def __init__(self, depth: int) -> None:
        super().__init__()
        net = {18: resnet18, 50: resnet50}[depth](weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2, self.layer3, self.layer4 = net.layer1, net.layer2, net.layer3, net.layer4
        stride_one([self.layer3, self.layer4])
        expansion = 4 if depth == 50 else 1
        self.out_channels = (3, 64, *(expansion * c for c in (64, 128, 256, 512)))
        weights = ResNet50_Weights if depth == 50 else ResNet18_Weights
        self.imagenet_url = weights.IMAGENET1K_V1.url

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
