import { Ajv2020 } from 'ajv/dist/2020.js'
import { openapi } from '../../build/openapi.ts'
import packageJson from '../../package.json' with { type: 'json' }
import { KILL } from './post.ts'

export const document = openapi(packageJson.version)

const ajv = new Ajv2020({
  strict: true,
  allErrors: true,
  // The document is the schema that the references start from.
  keywords: Object.keys(document),
  formats: { uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/, 'date-time': true },
}).addSchema({ $id: 'openapi', ...document })

const errorsOf = (pointer: readonly (string | number)[], value: unknown) => {
  const escaped = pointer.map((part) => encodeURIComponent(String(part).replaceAll('~', '~0').replaceAll('/', '~1')))
  const reference = `openapi#/${escaped.join('/')}`
  const validate = ajv.getSchema(reference)
  if (!validate) throw new Error(`The document has no ${reference}`)
  return validate(value) === true ? '' : ajv.errorsText(validate.errors)
}

/** Whether the document allows this body. */
export const isDocumentedRequest = (body: unknown) =>
  errorsOf(['paths', KILL, 'post', 'requestBody', 'content', 'application/json', 'schema'], body) === ''

type HeadersLike = Headers | Readonly<Record<string, string | readonly string[] | undefined>>

/** Throws if an answer differs from what the document says about this path. */
export const assertDocumented = (status: number, headers: HeadersLike, text: string, path: string = KILL) => {
  const isHealth = path === '/healthz'
  const { responses } = isHealth ? document.paths['/healthz'].get : document.paths[KILL].post
  const response = responses[status]
  if (!response) throw new Error(`${path} ${status} is not documented`)
  const sent = (name: string) => (headers instanceof Headers ? headers.get(name) : headers[name.toLowerCase()]) ?? null
  const pointer = ['paths', ...(isHealth ? [path, 'get'] : [KILL, 'post']), 'responses', status]
  const faults = [
    sent('content-type') === 'application/json' ? '' : `content type ${sent('content-type')}`,
    errorsOf([...pointer, 'content', 'application/json', 'schema'], JSON.parse(text)),
    ...Object.entries(response.headers).map(([name, { required }]) => {
      const value = sent(name)
      if (value === null) return required ? `no ${name}` : ''
      return errorsOf([...pointer, 'headers', name, 'schema'], value)
    }),
  ].filter((fault) => fault !== '')
  if (faults.length > 0) throw new Error(`${path} ${status} ${text} is not as documented: ${faults.join('; ')}`)
}
