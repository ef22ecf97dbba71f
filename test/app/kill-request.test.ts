import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { safeParse } from 'zod/mini'
import { killRequest } from '../../src/app/kill-request.ts'

/** The time that a request means, or the name of the field that is wrong. */
const timeOf = (startedBefore: unknown) => {
  const { success, data, error } = safeParse(killRequest, { pid: 1234, startedBefore })
  return success ? data.startedBefore?.toISOString() : error.issues.map(({ path }) => path.join('.')).join()
}

describe('startedBefore is read', () => {
  test.each([
    ['in UTC', '2026-11-24T08:00:00Z', '2026-11-24T08:00:00.000Z'],
    ['as JavaScript writes it', '2026-11-24T08:00:00.123Z', '2026-11-24T08:00:00.123Z'],
    ['as Python writes it', '2026-11-24T08:00:00.123456+00:00', '2026-11-24T08:00:00.123Z'],
    ['as date -Iseconds writes it', '2026-11-24T08:00:00+01:00', '2026-11-24T07:00:00.000Z'],
    ['west of Greenwich', '2026-11-24T20:00:00-05:30', '2026-11-25T01:30:00.000Z'],
    ['at the offset -00:00', '2026-11-24T08:00:00-00:00', '2026-11-24T08:00:00.000Z'],
    ['at the largest offset', '2026-11-24T00:00:00+23:59', '2026-11-23T00:01:00.000Z'],
    ['with tenths', '2026-11-24T08:00:00.1Z', '2026-11-24T08:00:00.100Z'],
    ['cut, not rounded', '2026-11-24T08:00:00.1239Z', '2026-11-24T08:00:00.123Z'],
    ['cut at the end of a year', '2026-12-31T23:59:59.999999999Z', '2026-12-31T23:59:59.999Z'],
    ['cut before 1970 too, towards the earlier', '1960-01-01T00:00:00.0019Z', '1960-01-01T00:00:00.001Z'],
    ['cut at any length', `2026-11-24T08:00:00.${'9'.repeat(400)}Z`, '2026-11-24T08:00:00.999Z'],
    ['cut with zeros in front', '2026-11-24T08:00:00.0000999999999Z', '2026-11-24T08:00:00.000Z'],
    ['on a leap day', '2028-02-29T12:00:00Z', '2028-02-29T12:00:00.000Z'],
    ['on a leap day of a century', '2000-02-29T12:00:00Z', '2000-02-29T12:00:00.000Z'],
    ['in the future', '9999-12-31T23:59:59Z', '9999-12-31T23:59:59.000Z'],
    ['in the year 0', '0000-02-29T00:00:00Z', '0000-02-29T00:00:00.000Z'],
    ['beyond the year 9999 by its offset', '9999-12-31T23:59:59-23:59', '+010000-01-01T23:58:59.000Z'],
  ])('%s', (_name, text, time) => {
    expect(timeOf(text)).toBe(time)
  })

  test('absent, it is no condition', () => {
    expect(timeOf(undefined)).toBeUndefined()
  })
})

describe('startedBefore is refused', () => {
  test.each([
    ['without an offset', '2026-11-24T08:00:00'],
    ['without a time', '2026-11-24'],
    ['with an offset alone', '2026-11-24Z'],
    ['without a date', '08:00:00Z'],
    ['without seconds', '2026-11-24T08:00Z'],
    ['with lower-case t', '2026-11-24t08:00:00Z'],
    ['with lower-case z', '2026-11-24T08:00:00z'],
    ['with a space for the T', '2026-11-24 08:00:00Z'],
    ['in the basic format', '20261124T080000Z'],
    ['with an offset without a colon', '2026-11-24T08:00:00+0100'],
    ['with an offset of hours', '2026-11-24T08:00:00+01'],
    ['with an offset out of range', '2026-11-24T08:00:00+24:00'],
    ['with minutes of an offset out of range', '2026-11-24T08:00:00+01:60'],
    ['with a typographic minus', '2026-11-24T08:00:00−01:00'],
    ['with the name of a zone', '2026-11-24T08:00:00 UTC'],
    ['with two offsets', '2026-11-24T08:00:00Z+01:00'],
    ['with an offset and a zone', '2026-11-24T08:00:00+01:00[Europe/Berlin]'],
    ['with an empty fraction', '2026-11-24T08:00:00.Z'],
    ['with a comma', '2026-11-24T08:00:00,5Z'],
    ['on 29 February of a common year', '2026-02-29T08:00:00Z'],
    ['on 29 February of a century', '1900-02-29T08:00:00Z'],
    ['on 31 April', '2026-04-31T08:00:00Z'],
    ['on day 0', '2026-11-00T08:00:00Z'],
    ['in month 13', '2026-13-01T08:00:00Z'],
    ['at 24:00', '2026-11-24T24:00:00Z'],
    ['in a minute 60', '2026-11-24T08:60:00Z'],
    ['in a leap second', '2026-12-31T23:59:60Z'],
    ['with a year of five digits', '+012026-11-24T08:00:00Z'],
    ['with a year of two digits', '26-11-24T08:00:00Z'],
    ['with white space before', ' 2026-11-24T08:00:00Z'],
    ['with a newline after', '2026-11-24T08:00:00Z\n'],
    ['with other digits', '２０２６-11-24T08:00:00Z'],
    ['as the lstart of ps', 'Tue Nov 24 08:00:00 2026'],
    ['as a HTTP date', 'Tue, 24 Nov 2026 08:00:00 GMT'],
    ['as a time stamp in text', '1795507200'],
    ['as a time stamp', 1795507200000],
    ['as a Date', new Date()],
    ['as null', null],
    ['empty', ''],
  ])('%s', (_name, value) => {
    expect(timeOf(value)).toBe('startedBefore')
  })
})

const two = (n: number) => String(n).padStart(2, '0')

test('every time at every offset is read as the same instant, never as a later one', () => {
  // A signaller compares: not a number would be earlier than nothing, and so no protection.
  const anyTime = fc.date({
    min: new Date('0001-01-02T00:00:00Z'),
    max: new Date('9999-12-30T00:00:00Z'),
    noInvalidDate: true,
  })
  const anyOffset = fc.integer({ min: -(24 * 60 - 1), max: 24 * 60 - 1 })
  const anyFraction = fc.stringMatching(/^[0-9]{0,12}$/)
  fc.assert(
    fc.property(anyTime, anyOffset, anyFraction, (time, offset, finer) => {
      const local = new Date(time.getTime() + offset * 60_000).toISOString().replace('Z', finer)
      const minutes = Math.abs(offset)
      const text = `${local}${offset < 0 ? '-' : '+'}${two(Math.floor(minutes / 60))}:${two(minutes % 60)}`
      expect(timeOf(text)).toBe(time.toISOString())
    }),
    { numRuns: 2000 },
  )
})
