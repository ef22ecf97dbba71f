/** The median of some values, and the quartiles around it. */
const quartiles = (values) => {
  const sorted = values.toSorted((a, b) => a - b)
  const [low, median, high] = [0.25, 0.5, 0.75].map((share) => sorted[Math.floor(sorted.length * share)])
  return { low, median, high }
}

/**
 * Adds to each measure how many times as much as ours each rival takes, and whether that is as much as it should be. The
 * ratios are those of each round: what slows the machine down slows both servers of a round.
 */
export const judged = (measures, ours) =>
  measures.map(({ samples, atLeast, ...measure }) => {
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
  const cell = ({ samples, rivals }, server) => {
    if (!samples[server]) return ''
    const ratio = rivals.find(({ name }) => name === server)
    return quartiles(samples[server]).median.toFixed(1) + (ratio ? ` (${ratio.median.toFixed(2)})` : '')
  }
  const lines = measures.map((measure) => [measure.title, ...servers.map((server) => cell(measure, server))])
  return rows([['', ...servers], ['---', ...servers.map(() => '--:')], ...lines])
}

/** Markdown: a row for each target, with the quartiles of the ratio. */
export const targetTable = (measures) => {
  const row = ({ title, name, target, median, low, high, isMet }) => {
    const around = `${low.toFixed(2)} to ${high.toFixed(2)}`
    return [title, name, target.toFixed(2), median.toFixed(2), around, isMet ? 'met' : '**missed**']
  }
  const all = measures.flatMap(({ title, rivals }) => rivals.map((rival) => ({ title, ...rival })))
  const lines = all.filter(({ target }) => target !== undefined).map(row)
  const head = ['rival ÷ psys-kill', '', 'target', 'median', 'quartiles', '']
  return rows([head, ['---', '---', '--:', '--:', '--:', '---'], ...lines])
}
