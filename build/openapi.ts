import { toJSONSchema } from 'zod/v4/core'
import { answers, KILL_PATH, REASON_HEADER, REASONS, serverAnswers } from '../src/app/contract.ts'
import { killRequest, processSeen } from '../src/app/request.ts'
import { FIELDS as REQUEST_FIELDS } from '../src/app/signaller.ts'
import { bodySchema, digitsUpTo } from './json-schema.ts'
import type { KillPathItem, SecuritySchemes } from './openapi-parts.d.ts'

type Answer = Pick<
  (typeof answers)[keyof typeof answers] | (typeof serverAnswers)[keyof typeof serverAnswers],
  'status' | 'body'
>
type Schema = Record<string, unknown>
type Field = { description: string; examples: unknown[] }

/** What a status means to the caller of the kill route. */
const STATUSES: Record<Answer['status'], string> = {
  200: 'SIGTERM was sent, or with `dryRun` would have been. With `waitMs` it also says whether the process has exited; without, a process may still ignore the signal.',
  400: `A field is not what it must be, or the body is not JSON, or was not sent as \`application/json\`. Where several fields are wrong, the first of pid, ${REQUEST_FIELDS.join(', ')} is named, and an unknown field last. Nothing was signalled.`,
  401: 'The server has a token, and the request did not carry it. Nothing was signalled.',
  403: 'The process is not to be signalled by this server, or the caller may not ask. Nothing was signalled.',
  404: 'There is no such process. Nothing was signalled.',
  405: 'Not a POST.',
  413: 'The body is above 4 KiB. Nothing was signalled.',
  500: 'Anything unexpected; the cause is in the log of the server.',
  501: 'This system cannot tell what an optional field asks for. Nothing was signalled.',
  503: 'As many requests wait for an exit as the server lets wait. Nothing was signalled.',
}

/** When each answer is given. */
const SUMMARIES: Readonly<Record<string, string>> = {
  sent: 'SIGTERM was sent',
  exited: 'With waitMs: and the process has exited',
  running: 'With waitMs: and the process still runs',
  'would send': 'With dryRun: and nothing was signalled',
  'bad pid': 'The PID is no integer above zero, or the body is no JSON object',
  'bad instance': 'Not what a dry run tells as instance',
  'bad waitMs': 'Not an integer from 0 to 60000',
  'bad dryRun': 'Neither true nor false',
  'bad command': 'Not a string',
  'bad comment': 'Not a string of at most 200 characters',
  'unknown field': 'A field that is not known: a misspelt condition must not kill',
  EPERM: "Another user's process, or one that policy protects",
  ESRCH: 'No such process, or it has already terminated, or it is not the one that instance and command name',
  'bad method': 'Another method on the path',
  'too large': 'The body is too large',
  failed: 'The cause is in the log',
  'no instance': 'This system cannot identify processes',
  'no waitMs': 'Exits are not known here',
  'no dryRun': 'This signaller cannot do without the signal',
  'no command': 'The names of processes are not known here',
  'too many waits': 'Try again later, or without waitMs',
  unauthorized: 'No token, or another one (standalone server)',
  host: 'The request came by a Host that is not answered (standalone server)',
  proxy: 'The request came through a proxy, and no token is asked for (standalone server)',
  origin: 'A web page of another origin sent the request (standalone server)',
  path: 'Nothing is served at this path: the base URL is wrong (standalone server)',
  up: 'The server runs',
} satisfies Record<keyof typeof answers | keyof typeof serverAnswers | 'up', string>

const FIELDS: Record<keyof typeof killRequest.shape, Field> = {
  pid: {
    description:
      'The process: an integer, as a JSON number or as decimal digits in a string, white space around them allowed. No process has one above 2147483647, which gets a 404.',
    examples: ['1234'],
  },
  instance: {
    description:
      'The `instance` of a dry run, which identifies one process. If the PID belongs to another process now: 404, and no signal.',
    examples: ['0a1b2c3d4e5f6071-1234-567890'],
  },
  waitMs: {
    description: 'After the signal, wait up to this many milliseconds for the process to exit, and say whether it did.',
    examples: [5000],
  },
  dryRun: {
    description:
      'Look and check as ever, and signal nothing; nothing is waited for either. The answer tells of the process, where the system does.',
    examples: [true, false],
  },
  command: {
    description:
      'The name of the process that you mean, cut to the 15 bytes that the kernel keeps. One of another name is not the one you meant: 404, and no signal.',
    examples: ['node'],
  },
  comment: {
    description: 'For the record, of at most 200 characters; it has no effect on anything else.',
    examples: ['stuck import, ticket 4711'],
  },
}

/** What the answer to a dry run tells beside what is fixed. */
const { $schema: _, ...processSchema } = toJSONSchema(processSeen)
const PROCESS: Schema = {
  ...processSchema,
  description:
    'As far as the system tells: `command`, the name of the process; `uid`, its effective user id; `instance`, which identifies this very process, to send back; and `startedAt`, correct to about a second, for people to read.',
}

/** The schema that validates. Of the PID it tells what a string becomes, and not which strings there may be. */
const requestSchema = () => {
  const { $schema: _, properties: { pid, ...others } = {}, ...schema } = toJSONSchema(killRequest, { io: 'input' })
  const digits = { type: 'string', pattern: `^\\s*${digitsUpTo(Number.MAX_SAFE_INTEGER)}\\s*$` }
  const fields: Schema = { pid: { anyOf: [pid, digits] }, ...others }
  const properties = Object.fromEntries(
    Object.entries(FIELDS).map(([name, { description }]) => [name, { ...Object(fields[name]), description }]),
  )
  return { ...schema, title: 'KillRequest', properties, description: 'Unknown fields are refused.' }
}

/** Beside the media type, as OpenAPI 3.0 has no list of them in a schema. */
const requestExamples = () => ({
  plain: { summary: 'Send SIGTERM', value: { pid: 1234 } },
  safe: {
    summary: 'Only the process that was seen, and wait until it is gone',
    value: { pid: 1234, instance: '0a1b2c3d4e5f6071-1234-567890', waitMs: 5000 },
  },
  look: { summary: 'See what would be killed', value: { pid: 1234, dryRun: true } },
  ...Object.fromEntries(
    Object.entries(FIELDS).flatMap(([name, { examples }]) =>
      examples.map((value, index) => [
        `${name}-${index + 1}`,
        { summary: `${name}: ${JSON.stringify(value)}`, value: { pid: 1234, [name]: value } },
      ]),
    ),
  ),
})

interface Header {
  description: string
  required?: boolean
  schema: Schema
}

const REASON: Record<string, Header> = {
  [REASON_HEADER]: {
    required: true,
    schema: { type: 'string', enum: REASONS },
    description: 'Why there was no signal, in more detail than the body',
  },
}
const HEADERS: Partial<Record<Answer['status'], Record<string, Header>>> = {
  401: { 'WWW-Authenticate': { required: true, schema: { enum: ['Bearer'] }, description: 'The scheme to use' } },
  405: { Allow: { required: true, schema: { enum: ['POST'] }, description: 'The method to use' } },
  503: { 'Retry-After': { required: true, schema: { enum: ['1'] }, description: 'In how many seconds to try again' } },
}
const REQUEST_ID = {
  'X-Request-Id': {
    schema: { type: 'string', format: 'uuid' },
    description: 'The id of the request in the log (standalone server)',
  },
}

const responsesOf = (
  named: readonly (readonly [name: string, answer: Answer])[],
  headers: Record<string, Header>,
  descriptions: Partial<Record<number, string>>,
) =>
  Object.fromEntries(
    [...new Set(named.map(([, { status }]) => status))].toSorted().map((status) => {
      const same = named.filter(([, answer]) => answer.status === status)
      const examples = same.map(([name, { body }]) => [
        name.replaceAll(' ', '-'),
        { summary: SUMMARIES[name], value: body },
      ])
      const content = {
        schema: bodySchema(
          same.map(([, { body }]) => body),
          same.some(([name]) => name === 'would send') ? { process: PROCESS } : {},
        ),
        examples: Object.fromEntries(examples),
      }
      return [
        status,
        {
          description: descriptions[status] ?? STATUSES[status],
          headers: { ...headers, ...(status === 200 || status === 500 ? {} : REASON), ...HEADERS[status] },
          content: { 'application/json': content },
        },
      ]
    }),
  )

const TAG = 'processes'

const pathItem = (named: Readonly<Record<string, Answer>>, headers: Record<string, Header>) => ({
  post: {
    operationId: 'kill',
    tags: [TAG],
    summary: 'Send SIGTERM to a process',
    description:
      'Only SIGTERM, and only to the process itself. On Linux a process that has terminated but is not reaped, ' +
      'and the id of a thread, are no process (404); PID 1, the server itself, kernel threads and what policy protects ' +
      'are not to be signalled (403).',
    requestBody: {
      required: true,
      description: 'At most 4 KiB of JSON',
      content: { 'application/json': { schema: requestSchema(), examples: requestExamples() } },
    },
    responses: responsesOf(Object.entries(named), headers, {}),
  },
})

// The exports other than `openapi` are what `psys-kill/openapi` has.
export const killPathItem = pathItem(answers, {}) satisfies KillPathItem
export const guardedKillPathItem = pathItem({ ...answers, ...serverAnswers }, REQUEST_ID) satisfies KillPathItem

export const securitySchemes = {
  token: { type: 'http', scheme: 'bearer', description: 'Asked for where the server has a token' },
  clientCertificate: {
    type: 'mutualTLS',
    description: 'Asked for where the server has the authority that signs the certificates of its clients',
  },
} satisfies SecuritySchemes

/** The OpenAPI 3.1 document of the standalone server, made from the schema that validates and the table of answers. */
export const openapi = (version: string) => {
  const { host, proxy, origin } = serverAnswers
  const { post } = guardedKillPathItem
  return {
    openapi: '3.1.0',
    info: {
      title: 'psys-kill',
      version,
      summary: 'Terminates a process by its PID',
      description:
        'One endpoint that sends SIGTERM to a process, or says exactly why not. Every response is JSON. The answers ' +
        'marked "standalone server" and the health check do not exist where the endpoint is embedded in another service.',
      contact: { name: 'The maintainers of psys-kill' },
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: 'http://127.0.0.1:3000', description: 'The standalone server, as it listens by default' }],
    tags: [
      { name: TAG, description: 'What is done to processes' },
      { name: 'probes', description: 'What is asked about the server itself' },
    ],
    paths: {
      [KILL_PATH]: { post: { ...post, security: [{}, { token: [] }, { clientCertificate: [] }] } },
      '/healthz': {
        get: {
          operationId: 'health',
          tags: ['probes'],
          summary: 'Say that the server runs',
          description: 'For probes: it needs no token and leaves no record. Standalone server only.',
          security: [],
          responses: responsesOf(
            [
              ['up', { status: 200, body: { ok: true } }],
              ['host', host],
              ['proxy', proxy],
              ['origin', origin],
            ],
            {},
            { 200: 'The server runs.', 403: 'The caller may not ask.' },
          ),
        },
      },
    },
    components: { securitySchemes },
  }
}
