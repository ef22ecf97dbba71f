export interface Block {
  line: number
  language: string
  text: string
  /** What `<!-- test: … -->` directly above it says. */
  directive: string
}

const DIRECTIVE = /^\s*<!-- test: *(.*?) *-->$/

/** The fenced code blocks of a Markdown text. Throws for a fence that stays open and a directive without a block. */
export const blocksOf = (markdown: string): Block[] => {
  const blocks: Block[] = []
  const lines = markdown.split('\n')
  for (let index = 0; index < lines.length; index++) {
    const [, indent = '', fence, info = ''] = /^(\s*)(`{3,}|~{3,})\s*(.*?)\s*$/.exec(lines[index] ?? '') ?? []
    if (fence === undefined) {
      if (DIRECTIVE.test(lines[index] ?? '') && !/^\s*(`{3}|~{3})/.test(lines[index + 1] ?? ''))
        throw new Error(`No block follows the directive in line ${index + 1}`)
      continue
    }
    const end = lines.findIndex((line, at) => at > index && line.trim() === fence)
    if (end < 0) throw new Error(`The block in line ${index + 1} has no end`)
    blocks.push({
      line: index + 1,
      language: info,
      text: lines
        .slice(index + 1, end)
        .map((line) => line.slice(indent.length))
        .join('\n'),
      directive: DIRECTIVE.exec(lines[index - 1] ?? '')?.[1] ?? '',
    })
    index = end
  }
  return blocks
}

/** The fragments that lead to the headings, as GitHub makes them. */
export const fragmentsOf = (markdown: string) =>
  [...markdown.matchAll(/^#+ (.*)$/gm)].map(([, title = '']) =>
    title
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

/** Where the links of a text lead to. */
export const linksOf = (markdown: string) => [...markdown.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target)
