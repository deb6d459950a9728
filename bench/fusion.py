#!/usr/bin/env python3
"""Are the constants of the ranking right? Each is chosen on one half of the questions and judged on the other.

    python bench/fusion.py --model DIR [--cache DIR] [--reference ../shared/data/recipe]

The candidates of every question are scored once by the reference implementation of the recipe; then constants are tried:
the weight of the dense leg, of pairs, of late interaction, how many are re-ordered by it, near copies collapsed, and maximal
marginal relevance (Carbonell and Goldstein 1998). Chosen on SciFact's train split and on half of the articles of squad2,
judged on SciFact's test split and the other half, with a paired bootstrap of 10,000 draws. DIR holds `model.onnx` and
`tokenizer.json` of all-MiniLM-L6-v2. Packages: numpy, regex, PyStemmer, tokenizers, onnxruntime.
"""

import argparse
import itertools
import json
import os
import sys

import numpy as np

DEPTH = 100  # candidates that are kept of a question
TODAY = {"pairs": 0.1, "dense": 0.6, "late": 1.0, "top": 30}


def squad(folder):
    """Paragraphs of whole articles, and the answerable questions with theirs; which half an article is in."""
    corpus, queries, qrels, halves = [], {}, {}, ({}, {})
    names = sorted(os.listdir(os.path.join(folder, "docs")))
    for name in names:
        with open(os.path.join(folder, "docs", name), encoding="utf-8") as text:
            paragraphs = [p for p in text.read().strip().split("\n\n")[1:] if p.strip()]
        corpus += [{"_id": f"{name} {n}", "title": "", "text": p} for n, p in enumerate(paragraphs)]
    with open(os.path.join(folder, "questions.jsonl"), encoding="utf-8") as lines:
        for question in map(json.loads, lines):
            if question["answerable"]:
                queries[question["id"]] = question["question"]
                qrels[question["id"]] = {f"{question['doc']} {question['paragraph']}": 1}
                halves[names.index(question["doc"]) % 2][question["id"]] = True
    return corpus, queries, qrels, halves


def features(reference, corpus, queries, qrels, encoder):
    """For each question: the parts of the candidates' scores, their vectors, and their gains."""
    texts = [reference.passage_text(c.get("title") or "", c["text"]) for c in corpus]
    keys, row = list(queries), {c["_id"]: i for i, c in enumerate(corpus)}
    documents, questions = encoder.encode(texts), encoder.encode([queries[k] for k in keys])
    unigrams = reference.Bm25([reference.lexical_tokens(c.get("title") or "", c["text"]) for c in corpus])
    pairs = reference.Bm25([reference.bigrams(reference.analyze(t)) for t in texts])
    offsets = documents["offsets_of"]
    piece_idf = reference.wordpiece_idf([documents["ids"][a:b] for a, b in zip(offsets, offsets[1:])])
    statistics = [reference.word_statistics(t[: reference.GATE_CHARS], encoder.tokenizer) for t in texts]
    gates = np.array([reference.gate_document(s) for s in statistics])
    found = {}
    for q, key in enumerate(keys):
        tokens, cosine = reference.analyze(queries[key]), documents["vectors"] @ questions["vectors"][q]
        b, b2 = unigrams.scores(tokens), pairs.scores(reference.bigrams(tokens))
        near = [i for i in reference.top(b, reference.GATE_DOCS) if b[i] > 0] or list(reference.top(cosine, reference.GATE_DOCS))
        g = reference.gate(reference.gate_query(reference.word_statistics(queries[key], encoder.tokenizer)), gates[near])
        upper = unigrams.upper_bound(tokens)
        _, candidates = reference.fuse(b, b2, upper, cosine, g)
        kept = candidates[:DEPTH]
        rows = reference.inner(questions, q)
        asked, weights = reference.unit(questions["tokens"][rows]), reference.token_weights(piece_idf[questions["ids"][rows]])
        late = [reference.maxsim(asked, weights, reference.unit(documents["tokens"][reference.inner(documents, i)])) for i in kept]
        gains = {row[d]: gain for d, gain in qrels[key].items() if d in row}
        found[key] = {
            "b": b[kept] / upper, "b2": b2[kept] / upper, "cos": cosine[kept], "late": np.array(late), "g": g,
            "gain": np.array([gains.get(int(i), 0) for i in kept]), "ideal": sorted(gains.values(), reverse=True),
            "vectors": documents["vectors"][kept],
        }
    return found


def order(f, pairs, dense, late, top, diversity=0.0, collapse=None):
    """The candidates in their order."""
    fused = f["b"] + pairs * f["g"] * f["b2"] + dense * f["g"] * f["cos"]
    first = np.argsort(-fused, kind="stable")
    head = first[:top]
    scores = fused[head] + late * f["g"] * f["late"][head]
    ranked = head[np.argsort(-scores, kind="stable")]
    ranked = np.concatenate([ranked, first[top:]])
    if collapse is not None:
        ranked = collapsed(f["vectors"], ranked, collapse)
    if diversity:
        ranked = diversified(f["vectors"], ranked, np.sort(scores)[::-1], diversity)
    return ranked


def collapsed(vectors, ranked, least):
    """Without those that are nearly the same as a better one, which go to the end."""
    kept, copies = [], []
    for i in ranked[:30]:
        near = kept and float((vectors[kept] @ vectors[i]).max()) >= least
        (copies if near else kept).append(i)
    return np.array(kept + list(ranked[30:]) + copies)


def diversified(vectors, ranked, scores, diversity):
    """The ten first, each the best by its score less its likeness to those before it."""
    left, taken = list(range(min(len(scores), 30))), []
    while left and len(taken) < 10:
        like = lambda n: max((float(vectors[ranked[n]] @ vectors[ranked[m]]) for m in taken), default=0.0)
        best = max(left, key=lambda n: (1 - diversity) * scores[n] - diversity * like(n))
        taken.append(best)
        left.remove(best)
    return np.concatenate([ranked[taken], ranked[[n for n in range(len(ranked)) if n not in set(taken)]]])


def ndcg(f, ranked):
    discount = 1 / np.log2(np.arange(2, 12))
    gains = f["gain"][ranked[:10]]
    ideal = np.array(f["ideal"][:10])
    return float((gains * discount[: len(gains)]).sum() / (ideal * discount[: len(ideal)]).sum())


def scores(found, **constants):
    return np.array([ndcg(f, order(f, **constants)) for f in found.values()])


def interval(difference, draws=10_000):
    chance = np.random.default_rng(1)
    means = [difference[chance.integers(0, len(difference), len(difference))].mean() for _ in range(draws)]
    return np.percentile(means, [2.5, 97.5])


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True), parser.add_argument("--cache")
    parser.add_argument("--reference", default=os.path.join(here, "..", "..", "shared", "data", "recipe"))
    arguments = parser.parse_args()
    if not os.path.isdir(arguments.reference):
        sys.exit(f"skipped: {arguments.reference} is not there; hint: --reference names the folder of the recipe")
    sys.path.insert(0, arguments.reference)
    import reference

    data = os.path.join(arguments.reference, "..")
    encoder = reference.Encoder(arguments.model, arguments.cache)
    chosen_on, judged_on = {}, {}
    for split, into in (("train", chosen_on), ("test", judged_on)):
        corpus, queries, qrels = reference.load_beir(os.path.join(data, "scifact"), split)
        into["scifact"] = features(reference, corpus, queries, qrels, encoder)
    corpus, queries, qrels, halves = squad(os.path.join(data, "squad2"))
    found = features(reference, corpus, queries, qrels, encoder)
    for half, into in zip(halves, (chosen_on, judged_on)):
        into["squad2"] = {key: found[key] for key in half}

    base = {name: scores(found, **TODAY) for name, found in chosen_on.items()}
    then = {name: scores(found, **TODAY) for name, found in judged_on.items()}
    for name in base:
        print(f"{name:8} today: chosen on {base[name].mean():.4f} ({len(base[name])}), judged on {then[name].mean():.4f} ({len(then[name])})")

    def judged(label, constants):
        for name, found in judged_on.items():
            difference = scores(found, **constants) - then[name]
            low, high = interval(difference)
            train = scores(chosen_on[name], **constants).mean() - base[name].mean()
            print(f"{label:44} {name:8} chosen on {train:+.4f}, judged on {difference.mean():+.4f} [{low:+.4f}, {high:+.4f}]")

    grid = [dict(pairs=p, dense=d, late=l, top=t) for p, d, l, t in itertools.product(
        (0.0, 0.1, 0.2, 0.3), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0), (0.0, 0.5, 1.0, 1.5, 2.0), (30, 100))]
    gain = lambda c, names: np.mean([scores(chosen_on[n], **c).mean() - base[n].mean() for n in names])
    for names in (["scifact"], ["squad2"], ["scifact", "squad2"]):
        best = max(grid, key=lambda c: gain(c, names))
        judged(f"fitted on {'+'.join(names)}: {best['pairs']} {best['dense']} {best['late']} {best['top']}", best)
    for least in (0.98, 0.95, 0.9):
        judged(f"copies of cosine {least} collapsed", dict(TODAY, collapse=least))
    for diversity in (0.05, 0.1, 0.3):
        judged(f"marginal relevance {diversity}", dict(TODAY, diversity=diversity))


if __name__ == "__main__":
    main()
