/** A pattern for the integers from 1 to `maximum`, which has two digits or more. Leading zeros are allowed. */
export const digitsUpTo = (maximum: number) => {
  const digits = [...String(maximum)].map(Number)
  const below = digits.flatMap((digit, index) => {
    const first = index === 0 ? 1 : 0
    if (digit <= first) return []
    const rest = digits.length - index - 1
    const lower = first === digit - 1 ? first : `[${first}-${digit - 1}]`
    return `${digits.slice(0, index).join('')}${lower}${rest > 0 ? `[0-9]{${rest}}` : ''}`
  })
  return `0*(?:[1-9][0-9]{0,${digits.length - 2}}|${[...below, maximum].join('|')})`
}

/** The schema of a property that has one of these values. */
const oneOf = (values: readonly unknown[]) => ({ type: typeof values[0], enum: values })

/** The schema of these bodies, whose values are fixed. `others` has the schemas of properties that are not fixed. */
export const bodySchema = (bodies: readonly object[], others: Record<string, Record<string, unknown>>) => {
  const fields = bodies.flatMap((body) => Object.entries(body))
  const names = [...new Set(fields.map(([name]) => name))]
  return {
    type: 'object',
    properties: {
      ...Object.fromEntries(
        names.map((name) => [
          name,
          oneOf([...new Set(fields.flatMap(([key, value]) => (key === name ? [value] : [])))]),
        ]),
      ),
      ...others,
    },
    required: names.filter((name) => bodies.every((body) => name in body)),
    additionalProperties: false,
  }
}
