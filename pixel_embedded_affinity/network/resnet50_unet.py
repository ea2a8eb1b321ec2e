"""A U-Net with the encoder of ResNet-50: per-pixel embeddings, an embedding pyramid, a foreground head."""

from __future__ import annotations

from pixel_embedded_affinity.network.resnet import ResNetUNet


class ResNet50UNet(ResNetUNet):
    """U-Net whose encoder is ResNet-50 without its last stage, with embedding heads at five scales.

    It has 15.2 million parameters by default; the paper (Huang et al., AAAI 2022) reports 15.3 million for its
    network with ResNet-50. ``pea train --encoder-weights`` starts the encoder from torchvision's weights.

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

    name = "resnet50_unet"
    depths = (3, 4, 6)
    halo = (128, 128)  # with random weights, no component of an embedding changes by more than 0.004 beyond
