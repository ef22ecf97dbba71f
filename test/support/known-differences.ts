import { hostOf } from './oracle-forms.ts'
import type { Place, WireRequest } from './oracle-model.ts'

type Difference = (request: WireRequest, place: Place) => boolean

const valuesOf = ({ headers }: WireRequest, name: string) =>
  headers.filter(([key]) => key === name).map(([, value]) => value)

const isStrange = (host: string) => {
  const url = `http://${host || 'empty'}`
  return !URL.canParse(url) || (hostOf(host)?.name || 'empty') !== new URL(url).hostname
}

/** Where the program is known to differ from the oracle: such requests are left out until one of the two has changed. */
const DIFFERENCES: Readonly<Record<string, Difference>> = {
  'two Hosts are as good as one where any Host may call': (request, { hosts }) =>
    hosts === 'any' && valuesOf(request, 'Host').length > 1,
  'a name before the @ of a target is passed over where any Host may call': ({ target }, { hosts }) =>
    hosts === 'any' && target.includes('@'),
  'an unusable Host may call beside a target with a usable one': (request) =>
    request.target.includes('//') && !valuesOf(request, 'Host').every(hostOf),
  'a Host that a URL writes in another way, or cannot have': (request, { hosts }) =>
    hosts === 'any' && valuesOf(request, 'Host').some(isStrange),
}

export const isKnownToDiffer: Difference = (request, place) =>
  Object.values(DIFFERENCES).some((applies) => applies(request, place))
