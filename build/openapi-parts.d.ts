// The types of psys-kill/openapi; the build writes its values, which build/openapi.ts makes. Type aliases, as an
// interface is not assignable to the index signatures of others' OpenAPI types.

type Schema = Record<string, unknown>

type Content = {
  'application/json': { schema: Schema; examples: Record<string, { summary: string; value: unknown }> }
}

type Header = { description: string; required?: boolean; schema: Schema }

/** A Path Item Object with one operation, valid in OpenAPI 3.0 and 3.1 and without references to anything outside. */
export type KillPathItem = {
  post: {
    operationId: string
    tags: string[]
    summary: string
    description: string
    requestBody: { required: boolean; description: string; content: Content }
    responses: Record<string, { description: string; headers: Record<string, Header>; content: Content }>
  }
}

/** Security Scheme Objects; `mutualTLS` came with OpenAPI 3.1. */
export type SecuritySchemes = {
  token: { type: 'http'; scheme: 'bearer'; description: string }
  clientCertificate: { type: 'mutualTLS'; description: string }
}

/**
 * What `createApp` answers, for the OpenAPI document of the service that it is mounted in: made from the schema that
 * validates and from the table of answers. It names no security: what the document asks for everywhere holds.
 *
 * @example
 * ```ts
 * import { KILL_PATH } from 'psys-kill'
 * import { killPathItem } from 'psys-kill/openapi'
 *
 * const document = { openapi: '3.1.0', info: { title: 'tools', version: '1' }, paths: { [KILL_PATH]: killPathItem } }
 * ```
 */
export declare const killPathItem: KillPathItem

/** The same with what the guards and the record of `psys-kill/server` answer in front of it. */
export declare const guardedKillPathItem: KillPathItem

/**
 * How a caller says who it is: by the token of `requireToken`, or by a client certificate, which the standalone server
 * can ask for.
 *
 * @example
 * ```ts
 * import { guardedKillPathItem, securitySchemes } from 'psys-kill/openapi'
 *
 * const { token } = securitySchemes
 * const components = { securitySchemes: { token } }
 * const kill = { post: { ...guardedKillPathItem.post, security: [{ token: [] }] } }
 * ```
 */
export declare const securitySchemes: SecuritySchemes
