/** A pattern of the integers from 1 to a maximum of several digits, with zeros before them or not. */
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

/** The schema of exactly these values. */
const oneOf = (values: readonly unknown[]) => ({ type: typeof values[0], enum: values })

/** The schema of exactly these bodies: objects of fixed fields, and other properties that some have in addition. */
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
