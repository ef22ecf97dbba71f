// The types of psys-kill/openapi. build/openapi.ts makes the values. These are type aliases, because an interface is
// not assignable to the index signatures of other packages' OpenAPI types.

type Schema = Record<string, unknown>

type Content = {
  'application/json': { schema: Schema; examples: Record<string, { summary: string; value: unknown }> }
}

type Header = { description: string; required?: boolean; schema: Schema }

/** A Path Item Object with one operation, valid in OpenAPI 3.0 and 3.1, without references. */
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

/** Security Scheme Objects. `mutualTLS` needs OpenAPI 3.1. */
export type SecuritySchemes = {
  token: { type: 'http'; scheme: 'bearer'; description: string }
  clientCertificate: { type: 'mutualTLS'; description: string }
}

/**
 * The kill route of `createApp`, for the OpenAPI document of the service that mounts the route. The build makes it from
 * the schema that validates requests and from the table of answers. It has no `security`: the document's own applies.
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

/** `killPathItem`, the answers of the guards of `psys-kill/server`, and the header `X-Request-Id` of `accessLog`. */
export declare const guardedKillPathItem: KillPathItem

/**
 * How a caller authenticates: with the token of `requireToken`, or with a client certificate. Only the standalone
 * server can require a client certificate.
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
