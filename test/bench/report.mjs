import { quartiles, ratios } from './stats.mjs'

const format = (value, digits) =>
  value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits })

/** Adds to each measure how many times as much as ours each rival takes, and whether that is as much as it should be. */
export const judged = (measures, ours) =>
  measures.map(({ samples, atLeast = {}, ...measure }) => ({
    ...measure,
    samples,
    rivals: Object.entries(samples)
      .filter(([name]) => name !== ours)
      .map(([name, values]) => {
        const { low, median, high } = ratios(values, samples[ours])
        const target = atLeast[name]
        return { name, low, median, high, target, isMet: target === undefined || median >= target }
      }),
  }))

const rows = (cells) => cells.map((row) => `| ${row.join(' | ')} |`).join('\n')

/** Markdown: a row for each measure, a column for each server, with the ratio to ours behind the median. */
export const table = (measures, servers, ours) =>
  rows([
    ['', ...servers],
    ['---', ...servers.map(() => '--:')],
    ...measures.map(({ title, digits, samples, rivals }) => [
      title,
      ...servers.map((server) => {
        if (!samples[server]) return ''
        const median = format(quartiles(samples[server]).median, digits)
        return server === ours ? median : `${median} (${format(rivals.find(({ name }) => name === server).median, 2)})`
      }),
    ]),
  ])

/** Markdown: a row for each target, with the quartiles of the ratio. */
export const targetTable = (measures) =>
  rows([
    ['rival ÷ psys-kill', '', 'target', 'median', 'quartiles', ''],
    ['---', '---', '--:', '--:', '--:', '---'],
    ...measures.flatMap(({ title, rivals }) =>
      rivals
        .filter(({ target }) => target !== undefined)
        .map(({ name, target, median, low, high, isMet }) => {
          const figures = [format(target, 2), format(median, 2), `${format(low, 2)} to ${format(high, 2)}`]
          return [title, name, ...figures, isMet ? 'met' : '**missed**']
        }),
    ),
  ])
