from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.network.base import NETWORKS
from pixel_embedded_affinity.testing import check_clusterer, check_network

check_clusterer(get_clusterer("graph_components", threshold=0.5))
check_network(NETWORKS.get("plain_net"))
