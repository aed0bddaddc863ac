"""What the package offers at its top level, for type checkers, and at run time by lazy loading (see `__init__.py`)."""

from .align import align_families as align_families
from .core.errors import PhylocliError as PhylocliError
from .embed import Embedder as Embedder
from .embed import embed_file as embed_file
from .embed import embed_sequences as embed_sequences
from .embed import load_model as load_model
from .fetch import fetch_families as fetch_families
from .formats import read_families as read_families
from .formats import read_sequences as read_sequences
from .formats import write_families as write_families
from .formats.embeddings import EmbeddingTable as EmbeddingTable
from .formats.embeddings import read_embeddings as read_embeddings
from .formats.family import Family as Family
from .formats.sequences.fasta import Sequence as Sequence
from .formats.tree import Tree as Tree
from .models import Model as Model
from .models import join_models as join_models
from .network import build_network as build_network
from .network import write_network as write_network
from .pairs import PairSampler as PairSampler
from .pairs import Split as Split
from .pairs import sample_pairs as sample_pairs
from .predict import predict_file as predict_file
from .predict import predict_residues as predict_residues
from .probe import Metrics as Metrics
from .probe import draw_map as draw_map
from .probe import make_labels as make_labels
from .probe import run_probes as run_probes
from .probe import write_labels as write_labels
from .probe.pipeline import probe as probe
from .search import search_file as search_file
from .search.clustering import cluster_embeddings as cluster_embeddings
from .search.pipeline import search as search
from .serve.server import ProteinServer as ProteinServer
from .serve.server import serve as serve
from .simulate import simulate_families as simulate_families
from .store import Store as Store
from .train import train_model as train_model
from .tree import compare_trees as compare_trees
from .tree import infer_trees as infer_trees
from .workflow import run_chain as run_chain
from .workflow.distances import DistanceMatrix as DistanceMatrix
from .workflow.distances import distances as distances
from .workflow.file_stats import file_stats as file_stats

__version__: str
