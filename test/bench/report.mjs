/** The median of some values, and the quartiles around it. */
const quartiles = (values) => {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, median, high] = [0.25, 0.5, 0.75].map((share) => sorted[Math.floor(sorted.length * share)])
  return { low, median, high }
}

const format = (value, digits) =>
  value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits })

/**
 * Adds to each measure how many times as much as ours each rival takes, and whether that is as much as it should be. The
 * ratios are those of each round: what slows the machine down slows both servers of a round.
 */
export const judged = (measures, ours) =>
  measures.map(({ samples, atLeast = {}, ...measure }) => {
    const { [ours]: own, ...others } = samples
    const rivals = Object.entries(others).map(([name, values]) => {
      const ratio = quartiles(values.map((value, round) => value / own[round]))
      const target = atLeast[name]
      return { name, ...ratio, target, isMet: target === undefined || ratio.median >= target }
    })
    return { ...measure, samples, rivals }
  })

const rows = (cells) => cells.map((row) => `| ${row.join(' | ')} |`).join('\n')

/** Markdown: a row for each measure, a column for each server, with the ratio to ours behind the median. */
export const table = (measures, servers) => {
  const row = ({ title, digits, samples, rivals }) => {
    const cell = (server) => {
      if (!samples[server]) return ''
      const ratio = rivals.find(({ name }) => name === server)
      return format(quartiles(samples[server]).median, digits) + (ratio ? ` (${format(ratio.median, 2)})` : '')
    }
    return [title, ...servers.map(cell)]
  }
  return rows([['', ...servers], ['---', ...servers.map(() => '--:')], ...measures.map(row)])
}

/** Markdown: a row for each target, with the quartiles of the ratio. */
export const targetTable = (measures) => {
  const row = (title, { name, target, median, low, high, isMet }) => {
    const quartiles = `${format(low, 2)} to ${format(high, 2)}`
    return [title, name, format(target, 2), format(median, 2), quartiles, isMet ? 'met' : '**missed**']
  }
  const judgedOnes = measures.flatMap(({ title, rivals }) =>
    rivals.filter(({ target }) => target !== undefined).map((rival) => row(title, rival)),
  )
  const head = ['rival ÷ psys-kill', '', 'target', 'median', 'quartiles', '']
  return rows([head, ['---', '---', '--:', '--:', '--:', '---'], ...judgedOnes])
}
