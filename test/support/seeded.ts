/** Numbers in [0, 1) that follow from the seed alone (mulberry32), so that a run can be repeated. */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** `count` of the items, chosen by the seed, in the order that they had. */
export function seededSample<Item>(items: readonly Item[], count: number, seed: number): Item[] {
  const random = seededRandom(seed);
  const drawn = items
    .map((item, at) => ({ item, at, key: random() }))
    .sort((left, right) => left.key - right.key);
  return drawn
    .slice(0, count)
    .sort((left, right) => left.at - right.at)
    .map(({ item }) => item);
}
