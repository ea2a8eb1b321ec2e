"""A U-Net with the encoder of ResNet-101: per-pixel embeddings, an embedding pyramid, a foreground head."""

from __future__ import annotations

from pixel_embedded_affinity.network.resnet import ResNetUNet


class ResNet101UNet(ResNetUNet):
    """U-Net whose encoder is ResNet-101 without its last stage, with embedding heads at five scales.

    It differs from ``resnet50_unet`` by 17 more bottlenecks at 1/16 of the resolution, and has 34.2 million parameters
    by default; the paper reports 34.3 million.

    Parameters
    ----------
    in_channels : int
        Channels of the input image.
    width : int
        Channels of the encoder's first convolution; its stages have 4, 8 and 16 times as many. torchvision's weights
        are for 64.
    filters : sequence of five int
        Channels of the decoder at full resolution, 1/2, 1/4, 1/8 and 1/16.
    embedding_channels : int
        Length of the embedding of a pixel.
    foreground_head : bool
        Whether to add a head that tells foreground from background.

    Raises
    ------
    InputError
        If the width is no positive integer, or the filters are not five of them.
    """

    name = "resnet101_unet"
    depths = (3, 4, 23)
    halo = (192, 192)  # with random weights, no component of an embedding changes by more than 0.004 beyond
