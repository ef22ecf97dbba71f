const sorted = (values) => values.toSorted((a, b) => a - b)
export const median = (values) => sorted(values)[values.length >> 1]

/** The median, and the middle half of the values as ± a share of it. */
export const summary = (values) => {
  const [low, high] = [sorted(values)[values.length >> 2], sorted(values)[(values.length * 3) >> 2]]
  return { median: median(values), spread: (high - low) / 2 / median(values) }
}

/** The median of the ratios round by round: what slows the machine for a while slows both sides of a round. */
export const ratio = (values, to) => median(values.map((value, round) => value / to[round]))

/** Measures each name in turn, round by round; the order turns too, so that none is always behind the same one. */
export const interleave = async (rounds, names, measure) => {
  const samples = Object.fromEntries(names.map((name) => [name, []]))
  for (let round = 0; round < rounds; round++)
    for (const index of names.keys()) {
      const name = names[(index + round) % names.length]
      samples[name].push(await measure(name))
    }
  return samples
}
