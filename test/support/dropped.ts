import { expect } from 'vitest'

/** How many lines the reports in a text say were dropped. */
export const dropped = (text: string) =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => {
      const { time, dropped, ...rest } = JSON.parse(line)
      expect(time).toMatch(/^\d{4}-.+Z$/)
      expect(rest).toEqual({})
      return Number(dropped)
    })
    .reduce((sum, count) => sum + count, 0)
