export { type AccessLogOptions, accessLog } from './access-log.ts'
export { allowHosts, allowOrigins, allowProxy } from './guards.ts'
export { createServerApp, type ServerAppType, type ServerOptions } from './server-app.ts'
export { requireToken, type Tokens } from './token.ts'
