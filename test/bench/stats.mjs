/** The median of some values, and the quartiles around it. */
export const quartiles = (values) => {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, median, high] = [0.25, 0.5, 0.75].map((share) => sorted[Math.floor(sorted.length * share)])
  return { low, median, high }
}

/** How many times as much as ours a rival takes, round by round: what slows the machine down slows both of a round. */
export const ratios = (rival, ours) => quartiles(rival.map((value, round) => value / ours[round]))

/** The names in the order of a round, which turns, so that none is always behind the same one. */
export const turned = (names, round) => names.map((_, index) => names[(index + round) % names.length])
