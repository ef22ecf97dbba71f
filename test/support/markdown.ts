export type Block = ReturnType<typeof blocksOf>[number]

/** Groups: the directive, the indent, the fence, the language, the text. */
const BLOCK =
  /(?:^[ \t]*<!-- test: *([^\n]*?) *-->\n)?^([ \t]*)(`{3,}|~{3,})[ \t]*([^\n`~]*?)[ \t]*\n(.*?)\n?^[ \t]*\3[ \t]*$/gms

/**
 * The fenced code blocks of a Markdown text, each with what `<!-- test: … -->` directly above it says. Throws for a
 * fence that stays open and a directive without a block.
 */
export const blocksOf = (markdown: string) => {
  const lineAt = (index: number) => markdown.slice(0, index).split('\n').length
  const rest = markdown.replace(BLOCK, (block) => block.replaceAll(/./g, ' '))
  const stray = /^[ \t]*(`{3}|~{3}|<!-- test:)/m.exec(rest)
  if (stray) throw new Error(`The fence or directive in line ${lineAt(stray.index)} belongs to no block`)
  return [...markdown.matchAll(BLOCK)].map((match) => {
    const [all, directive = '', indent = '', , language = '', text = ''] = match
    const line = lineAt(match.index + all.search(/^[ \t]*[`~]/m))
    return { line, language, text: text.replaceAll(new RegExp(`^${indent}`, 'gm'), ''), directive }
  })
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
