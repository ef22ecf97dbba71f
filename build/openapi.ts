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
  200: 'SIGTERM was sent, or with `dryRun` would have been sent. With `waitMs`, `exited` tells whether the process has exited. Without it, the process may still ignore the signal.',
  400: `A field is malformed or unknown, or the body is not JSON, or it was not sent as \`application/json\`. If several fields are malformed, the error names the first of pid, ${REQUEST_FIELDS.join(', ')}, and an unknown field last. No signal.`,
  401: 'The server requires a token or a client certificate, and the request has none that is valid. No signal.',
  403: 'The server does not signal this process, or does not accept this caller. No signal.',
  404: 'There is no such process. No signal.',
  405: 'The method is not POST.',
  413: 'The body is larger than 4 KiB. No signal.',
  500: 'Anything unexpected. The log of the server has the cause. If a gateway answers it, the signal may have been sent.',
  501: 'This system cannot do what an optional field asks for. No signal.',
  503: 'Too many requests wait for an exit. No signal.',
}

/** When each answer is given. */
const SUMMARIES: Readonly<Record<string, string>> = {
  sent: 'SIGTERM was sent',
  exited: 'With waitMs: SIGTERM was sent, and the process has exited',
  running: 'With waitMs: SIGTERM was sent, and the process still runs',
  'would send': 'With dryRun: SIGTERM would have been sent',
  'bad pid': 'The PID is not an integer above zero, or the body is not a JSON object',
  'bad instance': 'Not an instance of a dry run',
  'bad waitMs': 'Not an integer from 0 to 60000',
  'bad dryRun': 'Neither true nor false',
  'bad command': 'Not a string',
  'bad comment': 'Not a string of at most 200 characters',
  'unknown field': 'The field is not known. A misspelt condition must not kill',
  EPERM: "Another user's process, or one that policy protects",
  ESRCH: 'No such process, or it has already terminated, or instance or command do not match',
  'bad method': 'The method is not POST',
  'too large': 'The body is too large',
  failed: 'Unexpected error',
  'no instance': 'This system cannot identify processes',
  'no waitMs': 'This signaller cannot wait for exits',
  'no dryRun': 'This signaller cannot check without sending the signal',
  'no command': 'This system does not tell the names of processes',
  'too many waits': 'Try again later, or without waitMs',
  unauthorized: 'No valid token or certificate (with guards)',
  host: 'The Host is not allowed (with guards)',
  proxy: 'The request came through a proxy, and the server has no token (with guards)',
  origin: 'A web page of another origin sent the request (with guards)',
  path: 'No such path: the base URL is wrong (with guards)',
  up: 'The server runs',
} satisfies Record<keyof typeof answers | keyof typeof serverAnswers | 'up', string>

const FIELDS: Record<keyof typeof killRequest.shape, Field> = {
  pid: {
    description:
      'The process: an integer, as a JSON number or as a string of decimal digits. White space around the digits is allowed. No process has a PID above 2147483647: 404.',
    examples: ['1234'],
  },
  instance: {
    description:
      'The `instance` from a dry run. It identifies exactly one process. If the PID now belongs to another process: 404, and no signal.',
    examples: ['0a1b2c3d4e5f6071-1234-567890'],
  },
  waitMs: {
    description:
      'After the signal, wait up to this many milliseconds for the process to exit, and tell whether it did.',
    examples: [5000],
  },
  dryRun: {
    description:
      'Check everything, but send no signal and do not wait. The answer describes the process, if the system does.',
    examples: [true, false],
  },
  command: {
    description:
      'The name of the process. Only its first 15 bytes count, as the kernel keeps no more. If the process has another name: 404, and no signal.',
    examples: ['node'],
  },
  comment: {
    description: 'For the record: at most 200 characters. It has no other effect.',
    examples: ['stuck import, ticket 4711'],
  },
}

/** The schema of `process` in the answer to a dry run. */
const { $schema: _, ...processSchema } = toJSONSchema(processSeen)
const PROCESS: Schema = {
  ...processSchema,
  description:
    'The process, if the system describes it: `command`, its name; `uid`, its effective user id; `instance`, which identifies exactly this process; and `startedAt`, correct to about a second, for people to read.',
}

/** The schema that validates requests. zod does not say which strings are a PID, so the pattern is added here. */
const requestSchema = () => {
  const { $schema: _, properties: { pid, ...others } = {}, ...schema } = toJSONSchema(killRequest, { io: 'input' })
  const digits = { type: 'string', pattern: `^\\s*${digitsUpTo(Number.MAX_SAFE_INTEGER)}\\s*$` }
  const fields: Schema = { pid: { anyOf: [pid, digits] }, ...others }
  const properties = Object.fromEntries(
    Object.entries(FIELDS).map(([name, { description }]) => [name, { ...Object(fields[name]), description }]),
  )
  return { ...schema, title: 'KillRequest', properties, description: 'Unknown fields are refused.' }
}

/** Examples of the media type, because a schema of OpenAPI 3.0 has no list of examples. */
const requestExamples = () => ({
  plain: { summary: 'Send SIGTERM', value: { pid: 1234 } },
  safe: {
    summary: 'Only the process of a dry run, and wait until it has exited',
    value: { pid: 1234, instance: '0a1b2c3d4e5f6071-1234-567890', waitMs: 5000 },
  },
  look: { summary: 'Look at the process, without a signal', value: { pid: 1234, dryRun: true } },
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
    description: 'Why there was no signal, in more detail than in the body',
  },
}
const HEADERS: Partial<Record<Answer['status'], Record<string, Header>>> = {
  401: { 'WWW-Authenticate': { required: true, schema: { enum: ['Bearer'] }, description: 'The scheme to use' } },
  405: { Allow: { required: true, schema: { enum: ['POST'] }, description: 'The method to use' } },
  503: { 'Retry-After': { required: true, schema: { enum: ['1'] }, description: 'Try again after this many seconds' } },
}
const REQUEST_ID = {
  'X-Request-Id': {
    schema: { type: 'string', format: 'uuid' },
    description: 'The id of the request in the record (with guards)',
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
      'It sends only SIGTERM, and only to this process. On Linux, a process that has terminated but is not reaped is no ' +
      'process (404), nor is a thread. PID 1, the server itself, kernel threads and what policy protects are never ' +
      'signalled (403).',
    requestBody: {
      required: true,
      description: 'At most 4 KiB of JSON',
      content: { 'application/json': { schema: requestSchema(), examples: requestExamples() } },
    },
    responses: responsesOf(Object.entries(named), headers, {}),
  },
})

// `psys-kill/openapi` has all exports except `openapi`.
export const killPathItem = pathItem(answers, {}) satisfies KillPathItem
export const guardedKillPathItem = pathItem({ ...answers, ...serverAnswers }, REQUEST_ID) satisfies KillPathItem

export const securitySchemes = {
  token: { type: 'http', scheme: 'bearer', description: 'Required if the server has a token' },
  clientCertificate: {
    type: 'mutualTLS',
    description: 'Required if the server has a client CA',
  },
} satisfies SecuritySchemes

/** The OpenAPI 3.1 document of the standalone server. */
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
        'One endpoint that sends SIGTERM to a process, or tells exactly why not. Every response is JSON. If the endpoint ' +
        'is embedded in another service, it has no health check, and answers marked "with guards" only with the guards.',
      contact: { name: 'The maintainers of psys-kill' },
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: 'http://127.0.0.1:3000', description: 'The standalone server with its default settings' }],
    tags: [
      { name: TAG, description: 'Processes' },
      { name: 'probes', description: 'The server itself' },
    ],
    paths: {
      [KILL_PATH]: { post: { ...post, security: [{}, { token: [] }, { clientCertificate: [] }] } },
      '/healthz': {
        get: {
          operationId: 'health',
          tags: ['probes'],
          summary: 'Tell whether the server runs',
          description: 'For probes: it requires no token and is not recorded. Standalone server only.',
          security: [],
          responses: responsesOf(
            [
              ['up', { status: 200, body: { ok: true } }],
              ['host', host],
              ['proxy', proxy],
              ['origin', origin],
            ],
            {},
            { 200: 'The server runs.', 403: 'The server does not accept this caller.' },
          ),
        },
      },
    },
    components: { securitySchemes },
  }
}
