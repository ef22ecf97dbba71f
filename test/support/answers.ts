export interface Answer {
  status: number
  headers: ReadonlyMap<string, string>
  body: string
}

/** The head of what a server said, and where the body begins; undefined where it is not complete. */
export const headOf = (text: string) => {
  const headEnd = text.indexOf('\r\n\r\n')
  if (headEnd < 0) return undefined
  const [line = '', ...lines] = text.slice(0, headEnd).split('\r\n')
  const headers = new Map(
    lines.map((header) => header.split(/: ?(.*)/, 2)).map(([key = '', value = '']) => [key.toLowerCase(), value]),
  )
  const status = Number(/^HTTP\/1\.1 (\d{3}) /.exec(line)?.[1])
  return { status, headers, hasTwice: headers.size < lines.length, start: headEnd + 4 }
}

/** The first answer in what a server said, and where the next begins; undefined where it is not complete. */
const firstOf = (text: string, method: string): { answer: Answer; end: number } | undefined => {
  const head = headOf(text)
  if (!head) return undefined
  const { status, headers, hasTwice, start } = head
  // An interim answer is none.
  if (status === 100) {
    const next = firstOf(text.slice(start), method)
    return next && { ...next, end: next.end + start }
  }
  const length = method === 'HEAD' ? 0 : Number(headers.get('content-length') ?? 0)
  if (hasTwice || text.length < start + length) return undefined
  return { answer: { status, headers, body: text.slice(start, start + length) }, end: start + length }
}

/** The answers to requests with these methods, as far as there are, and what is left of the text. */
export const answersOf = (text: string, methods: readonly string[]) => {
  const answers: Answer[] = []
  let rest = text
  for (const method of methods) {
    const first = firstOf(rest, method)
    if (!first) break
    answers.push(first.answer)
    rest = rest.slice(first.end)
  }
  return { answers, rest }
}
