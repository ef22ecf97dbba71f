import { readdirSync, readFileSync, statSync } from 'node:fs'
import { startPeer } from './peer.ts'

/** Writes an address of /proc/net, where the bytes of each word are reversed, as in a URL. */
const inUrl = (address: string) => {
  const [host = '', port = ''] = address.split(':')
  const words = (host.match(/.{8}/g) ?? []).map((word) => Buffer.from(word, 'hex').reverse())
  const groups = words.flatMap((word) => [word.subarray(0, 2).toString('hex'), word.subarray(2).toString('hex')])
  const name = words.length > 1 ? new URL(`http://[${groups.join(':')}]`).hostname : words[0]?.join('.')
  return `${name}:${Number.parseInt(port, 16)}`
}

/** The listening sockets of one kind in the network namespace of a process: their inodes and places. */
const waiting = (pid: number | undefined, kind: string) => {
  const [, ...lines] = readFileSync(`/proc/${pid}/net/${kind}`, 'latin1').trimEnd().split('\n')
  return lines.flatMap((line): [inode: string, place: string][] => {
    const fields = line.trim().split(/\s+/)
    if (kind === 'unix') {
      // Flags: __SO_ACCEPTCON.
      const [, , , flags, , , inode = '', path = ''] = fields
      return flags === '00010000' ? [[inode, path]] : []
    }
    const [, local = '', , state, , , , , , inode = ''] = fields
    // 0A: listening. For UDP, 07: not connected.
    return state === (kind.startsWith('tcp') ? '0A' : '07') ? [[inode, inUrl(local)]] : []
  })
}

/**
 * Where a process listens, as the kernel tells: `127.0.0.1:80`, `[::1]:80`, or the path of a Unix socket. UDP counts.
 */
export const listeningPlaces = (pid: number | undefined): string[] => {
  const folder = `/proc/${pid}/fd`
  const opened = readdirSync(folder).map((fd) => statSync(`${folder}/${fd}`, { throwIfNoEntry: false }))
  const own = new Set(opened.map((stat) => (stat?.isSocket() ? `${stat.ino}` : '')))
  const all = ['tcp', 'tcp6', 'udp', 'udp6', 'unix'].flatMap((kind) => waiting(pid, kind))
  return all.filter(([inode]) => own.has(inode)).map(([, place]) => place)
}

/** A port that was free a moment ago, for programs that cannot tell which port they got. */
export const freePort = async () => {
  using peer = await startPeer(() => {})
  return Number(new URL(peer.url).port)
}
