"""Design-space exploration: `dnnc explore STUDY.yaml` (specs/explore.md).

A study has problems, each of which contributes variables; together they make one genome. A point of the space becomes
a `Candidate` (a machine and options of the compiler), which every problem changes in turn. Providers of figures say
what a candidate is worth; objectives and constraints are expressions over variables and figures.

    study_yaml.read_study     a study file -> Study: every fault before anything is evaluated
    problem.Problem           what a problem is: variables, `apply`, and the providers that it brings along
    problems.PROBLEMS         the sections of a study file that are problems, each with its reader: a new one is a row
    algorithms                who asks for which genomes next: exhaustive, random, NSGA-II
    engine.explore            ask, look up, evaluate, store, tell; the same front whatever the order of evaluations
    store.Store               every point that was evaluated, in SQLite, from the moment that it was
    workers                   evaluations here or on a Dask cluster
    survivors                 the front executed on the reference machine
    results                   the document, tables and files of a study
    accuracy/                 batches of samples through a graph, bit for bit what the machine computes
"""
