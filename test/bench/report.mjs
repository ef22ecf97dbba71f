import { ratio, summary } from './stats.mjs'

const format = (value, digits) =>
  value.toLocaleString('en', { maximumFractionDigits: digits, minimumFractionDigits: digits })

const cell = (values, digits) => {
  if (values === undefined) return ''
  const { median, spread } = summary(values)
  return format(median, digits) + (values.length > 1 ? ` ±${format(spread * 100, 0)} %` : '')
}

/**
 * One markdown table: a row for each measure, a column for each server, and the ratios that the targets are about.
 *
 * @param measures - `{ title, digits, samples: { [server]: number[] }, target }`
 */
export const table = (measures, servers, ours, rivals) => {
  const head = ['', ...servers, ...rivals.map((rival) => `${ours} ÷ ${rival}`), 'target']
  const rows = measures.map(({ title, digits = 0, samples, target = '' }) => [
    title,
    ...servers.map((server) => cell(samples[server], digits)),
    ...rivals.map((rival) => (samples[rival] ? format(ratio(samples[ours], samples[rival]), 2) : '')),
    target,
  ])
  const rule = head.map((_, column) => (column === 0 ? '---' : '--:'))
  return [head, rule, ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n')
}
