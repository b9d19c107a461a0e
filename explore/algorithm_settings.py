"""What a study says about its search."""

from __future__ import annotations

from ..frontend.yaml_fields import Fields
from ..frontend.yaml_reader import ScalarNode
from ..ir.frozen import dataclass

EXHAUSTIVE, RANDOM, NSGA2 = "exhaustive", "random", "nsga2"
ALGORITHMS = (EXHAUSTIVE, RANDOM, NSGA2)
RANDOM_START, SENSITIVITY = STARTS = ("random", "sensitivity")  # what a first population is made of
MOST_EVALUATIONS = 10**7
MOST_POPULATION = 10_000
MOST_CANDIDATES = 1000
MOST_CHILDREN = 100_000  # that a generation makes: offspring x candidates, each some kilobytes of pymoo's
LARGEST_ETA = 1000.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The defaults are those of the published sparsity searches: populations of 20, 25 generations.

    `evaluations` limits how many points are evaluated (None: no limit but the space or the generations).
    `crossover_probability` is of each variable, `mutation_probability` of each individual: the meanings of pymoo's SBX
    `prob_var` and polynomial mutation `prob`. `tolerance` ends the search once the front has moved by less in each of
    `period` generations' means, in parts of its extent; 0 means never. `candidates` children are made for each that is
    evaluated (`explore/surrogate.py` chooses); 1: all that are made.
    """

    name: str = EXHAUSTIVE
    evaluations: int | None = None
    population: int = 20
    offspring: int = 20
    candidates: int = 1
    generations: int = 25
    crossover_probability: float = 0.9
    crossover_eta: float = 15.0
    mutation_probability: float = 0.9
    mutation_eta: float = 20.0
    tolerance: float = 0.0
    period: int = 5
    seed: int = 0
    start: str = STARTS[0]


def read_settings(top: Fields, seed: int) -> Settings:
    """The section `algorithm`: a name, or keys. What is wrong goes to the faults."""
    node = top.node.entries.get("algorithm")
    if node is None or isinstance(node, ScalarNode):
        name = top.choice("algorithm", ALGORITHMS, EXHAUSTIVE)
        if name == RANDOM:
            top.fault("algorithm", "`random` needs a number of points", "`algorithm: {name: random, evaluations: 100}`")
        return Settings(name=name, seed=seed)
    fields = top.fields("algorithm")
    if fields is None:
        return Settings(seed=seed)
    name = fields.choice("name", ALGORITHMS)
    evaluations = None
    if fields.has("evaluations") or name == RANDOM:
        evaluations = fields.integer("evaluations", 1, MOST_EVALUATIONS, example="100")
    usual = Settings()
    if name != NSGA2:
        fields.done()
        return Settings(name=name, evaluations=evaluations, seed=seed)
    population = fields.integer("population", 2, MOST_POPULATION, usual.population)

    def number(key: str, most: float) -> float:
        default: float = getattr(usual, key)
        return fields.number(key, 0.0, most) if fields.has(key) else default

    found = Settings(
        name=name,
        evaluations=evaluations,
        population=population,
        offspring=fields.integer("offspring", 1, MOST_POPULATION, population),
        candidates=fields.integer("candidates", 1, MOST_CANDIDATES, usual.candidates),
        generations=fields.integer("generations", 1, MOST_EVALUATIONS, usual.generations),
        crossover_probability=number("crossover_probability", 1.0),
        crossover_eta=number("crossover_eta", LARGEST_ETA),
        mutation_probability=number("mutation_probability", 1.0),
        mutation_eta=number("mutation_eta", LARGEST_ETA),
        tolerance=number("tolerance", 1.0),
        period=fields.integer("period", 1, 1000, usual.period),
        seed=seed,
        start=fields.choice("start", STARTS, usual.start),
    )
    if found.offspring * found.candidates > MOST_CHILDREN:
        message = f"{found.offspring} offspring of {found.candidates} candidates each are made at once"
        fields.fault("candidates", message, f"together at most {MOST_CHILDREN}")
    fields.done()
    return found
