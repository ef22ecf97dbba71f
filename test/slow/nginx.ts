import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { emptyFolder } from '../support/folder.ts'
import { startServer } from '../support/server.ts'

const NGINX = '/usr/sbin/nginx'
/** The programs that are missing here, of those that a server of nginx's needs. */
export const missingForNginx = [NGINX, 'openssl'].filter((file) => spawnSync(file, ['-V']).error)

/** Starts nginx with what stands in the `http` block. Its workers are nobody's, as `nginx` is of a root that starts it. */
export const startNginx = async (http: string) => {
  const folder = emptyFolder()
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (kind) => `${kind}_temp_path ${folder.file(kind)};`,
  )
  writeFileSync(folder.file('site.conf'), http)
  writeFileSync(
    folder.file('nginx.conf'),
    `daemon off; error_log stderr notice; pid ${folder.file('pid')}; events {}
    http { access_log off; ${temporary.join(' ')} include ${folder.file('site.conf')}; }`,
  )
  const nginx = await startServer({
    command: [NGINX, '-e', 'stderr', '-p', folder.path, '-c', folder.file('nginx.conf')],
    args: [],
    listening: /start worker process (\d+)/,
  })
  return {
    [Symbol.asyncDispose]: async () => {
      await nginx[Symbol.asyncDispose]()
      folder[Symbol.dispose]()
    },
  }
}
