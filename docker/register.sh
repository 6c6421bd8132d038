#!/bin/sh
# register.sh [--] COMMAND [ARG]...: `registrar run` in small, for images without Python.
#
# Registers a service in etcd, runs COMMAND, takes the service out, and ends with COMMAND's exit code.
# It needs a POSIX sh (dash, busybox, bash), curl, /proc, and tools that Debian and busybox have.
#
#   COPY --from=branchfront/registrar /opt/branchfront/register.sh /usr/local/bin/register.sh
#   ENTRYPOINT ["register.sh", "--"]
#
# Variables, as for `registrar run`: REGISTRY_URL (without it COMMAND runs unregistered), REGISTRY_PREFIX,
# REGISTRY_CA, _CERT, _KEY, _USER, _PASSWORD, _PASSWORD_FILE; NAME (or BRANCH), SERVICE, PORT; IP, HOST_PORT;
# TTL (15), DRAIN (2), RELEASE_TIMEOUT (10); HEALTH_PATH, HEALTH_TCP (on), HEALTH_TIMEOUT (2, at most a
# third of TTL); DEFAULT_SERVICE (web). On ECS also what ECS sets, ECS_CONTAINER_METADATA_URI_V4 and
# ECS_CONTAINER_METADATA_FILE, and AWS_EC2_METADATA_SERVICE_ENDPOINT, AWS_EC2_METADATA_DISABLED. There are no
# flags.
#
# Exit codes: COMMAND's, 128 + n where signal n ended it; 2 usage, 78 settings, 126 and 127 COMMAND cannot be
# run or was not found.
#
# Limits, beside `registrar run`:
# * The health is asked until the service is ready, and not again. Without HEALTH_PATH it is ready when its
#   address takes a connection; what it then gets is one HEAD request for /.
# * The address is IP and HOST_PORT, else what ECS and EC2 tell in a task of ECS, else the one that reaches
#   the registry, and PORT: the Docker engine is not asked, nor is EC2 outside of ECS. The instance of a task
#   that ECS does not tell of within the first second is named after its host.
# * TERM, INT and QUIT end it; HUP, USR1, USR2, WINCH and CONT are passed on; others are not.
# * dash and busybox start what runs beside them with INT and QUIT ignored. Where env can undo that
#   (coreutils) it is undone; else COMMAND gets TERM in place of an INT or QUIT that it ignores.
#   Ctrl-C in a terminal reaches COMMAND from the terminal, and again from here.
# * Two new branches at one label at one moment are told apart by the frontends alone.
# * What was frozen for longer than TTL registers its address again without a look at who has it by then.
# * HEALTH_ADDRESS, HEALTH_INTERVAL, HEALTH_FAILURES, HEALTH_PASSES, HEALTH_ECS, SPOT_NOTICE, STOP_TIMEOUT,
#   CONTAINER (it is the one that this runs in), REGISTRY_CA_TEXT and LOG_FORMAT are not read.
#
# Every variable here begins with an underscore, so that none of COMMAND's is written over.
set -fu

_nl='
'

# log SENTENCE: on stderr; nothing in it steers a terminal
log() { printf 'register.sh: %s\n' "$(printf '%.4000s' "$1" | LC_ALL=C tr -c ' -~' '?')" >&2; }

# problem SENTENCE: to be told with all others
problem() { _problems="${_problems:+$_problems; }$1"; }

# now: hundredths of a second since the machine started, in $_now
now() {
  read -r _now _rest </proc/uptime
  # a one before the fraction, which would be octal otherwise
  _now=$((${_now%.*} * 100 + 1${_now#*.} - 100))
}

# seconds HUNDREDTHS: as sleep, curl and people read them, in $_seconds
seconds() { _seconds=$(($1 / 100)).$(($1 / 10 % 10))$(($1 % 10)); }

# since HUNDREDTHS: the seconds since then, in $_seconds
since() {
  now
  seconds $((_now - $1))
}

# hexed TEXT: its bytes in upper-case hexadecimal, in $_hexed
hexed() { _hexed=$(printf '%s' "$1" | od -An -v -tx1 | tr a-f A-F); }

# encode NAME: as one part of a key, by RFC 3986, in $_encoded
encode() {
  hexed "$1"
  _text=
  for _byte in $_hexed; do
    case $_byte in
      2[DE] | 5F | 7E | 3[0-9] | [46][1-9A-F] | [57][0-9A]) octal "$_byte" ;;
      *) _text=$_text%$_byte ;;
    esac
  done
  _encoded=$(printf '%b' "$_text")
}

# octal HEX: adds that byte to $_text, as printf %b reads it
octal() { _text=$_text\\0$((0x$1 / 64))$((0x$1 / 8 % 8))$((0x$1 % 8)); }

# decode TEXT: without its percent-encoding, in $_decoded
decode() {
  _rest=$(printf '%s' "$1" | sed 's/\\/\\\\/g')
  _text=
  while :; do
    case $_rest in
      *%[0-9A-Fa-f][0-9A-Fa-f]*) ;;
      *) break ;;
    esac
    _head=${_rest%%%[0-9A-Fa-f][0-9A-Fa-f]*}
    _rest=${_rest#"$_head"%}
    _text=$_text$_head
    octal "${_rest%"${_rest#??}"}"
    _rest=${_rest#??}
  done
  _decoded=$(printf '%b' "$_text$_rest")
}

# json TEXT: as what stands between JSON's quotes, without a blank, in $_json
json() {
  hexed "$1"
  _text=
  for _byte in $_hexed; do
    case $_byte in
      [01]? | 20 | 22 | 5C | 7F) _text="$_text\\\\u00$_byte" ;;
      *) octal "$_byte" ;;
    esac
  done
  _json=$(printf '%b' "$_text")
}

# b64 TEXT
b64() { printf '%s' "$1" | base64 | tr -d '\n'; }

# matches TEXT ERE: the whole of it does
matches() {
  case $1 in *"$_nl"*) return 1 ;; esac
  printf '%s\n' "$1" | LC_ALL=C grep -Eqx "$2"
}

# field NAME: the first text of that name in $_answer, in $_field; empty if there is none
field() {
  _field=
  case $_answer in
    *"\"$1\":\""*)
      _field=${_answer#*"\"$1\":\""}
      _field=${_field%%\"*}
      ;;
  esac
}

# is_ip TEXT
is_ip() {
  matches "$1" "$_octet(\.$_octet){3}" || matches "$1" '([0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}' ||
    { matches "$1" "$_groups::$_groups" && ! matches "$1" ':*[0-9A-Fa-f]+(:+[0-9A-Fa-f]+){7,}:*'; }
}
_octet='(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])'
_groups='(([0-9A-Fa-f]{1,4}:){0,6}[0-9A-Fa-f]{1,4})?'

# ---- settings: all problems are named at once

# bad NAME TEXT SENTENCE
bad() { problem "$1 is '$(printf '%.60s' "$2")': $3"; }

# whole NAME TEXT LEAST MOST WHAT: a whole number, in $_whole
whole() {
  if matches "$2" '[0-9]{1,9}'; then
    # a zero in front would make it octal
    _whole=${2#"${2%%[!0]*}"}
    _whole=${_whole:-0}
    [ "$_whole" -lt "$3" ] || [ "$_whole" -gt "$4" ] || return 0
  fi
  bad "$1" "$2" "expected $5, $3 to $4"
  _whole=$3
}

# hundredths NAME TEXT: seconds with a point, in hundredths, in $_hundredths
hundredths() {
  _hundredths=0
  if matches "$2" '[0-9]{1,5}(\.[0-9]{1,9})?' && [ "${2%%.*}" -le 86400 ]; then
    whole "$1" "${2%%.*}" 0 86400 seconds
    case $2 in *.*) _rest=${2#*.}00 ;; *) _rest=00 ;; esac
    _hundredths=$((_whole * 100 + 1${_rest%"${_rest#??}"} - 100))
  else
    bad "$1" "$2" 'expected 0 to 86400 seconds'
  fi
}

# name VARIABLE TEXT HINT: a name that can be part of a key, in $_encoded
name() {
  if [ -z "$2" ]; then
    problem "$1 is not set: $3"
    return 1
  fi
  hexed "$2"
  _rest=$(printf '%s' "$_hexed" | tr -d ' \n')
  if [ ${#_rest} -gt 1024 ]; then
    bad "$1" "$2" 'the name is longer than 512 bytes'
  elif ! matches "$_rest" "$_utf8" || matches "$_rest" "$_control"; then
    bad "$1" "$2" 'the name has a control character, or is not UTF-8'
  else
    encode "$2"
    return 0
  fi
  return 1
}
_utf8='([0-7].|C[2-9A-F][89AB].|D.[89AB].|E0[AB].[89AB].|E[1-9A-CEF][89AB].[89AB].|ED[89].[89AB].'
_utf8="$_utf8|F0[9AB].([89AB].){2}|F[1-3]([89AB].){3}|F48.([89AB].){2})+"
_control='(..)*([01].|7F|C2[89].|E280A[89])(..)*'

# slug TEXT: lower case, and every run of what a label cannot have is one hyphen, in $_slug
slug() {
  # of all letters that are not ASCII these two become ASCII in lower case: U+212A and U+0130
  _slug=$(
    export LC_ALL=C
    printf '%s' "$1" | sed "s/$(printf '\342\204\252')/k/g; s/$(printf '\304\260')/i-/g" |
      tr '[:upper:]' '[:lower:]' | tr -cs a-z0-9 -
  )
  _slug=${_slug#-} _slug=${_slug%-}
}

# login USER PASSWORD: from one of the places where they may stand
login() {
  if [ -n "$_user$_password" ] && [ "$_user:$_password" != "$1:$2" ]; then
    problem 'user and password are given twice, and differ; give them once'
  fi
  _user=$1 _password=$2
}

# bad_url SENTENCE: the text is not repeated, for the password in it
bad_url() { problem "REGISTRY_URL is no list of http://host:port: $1"; }

# endpoint URL: takes http://user:password@host:port apart
endpoint() {
  case $1 in
    http://* | https://*) ;;
    *) bad_url 'one begins with neither http:// nor https://' && return ;;
  esac
  _rest=${1#*://} _rest=${_rest%/} _host=${_rest##*@}
  if ! matches "$_host" '(\[[0-9A-Fa-f:.]+]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?'; then
    bad_url 'one has no host, or something behind the port' && return
  fi
  case $_host in *]:* | [!\[]*:*) ;; *) _host=$_host:2379 ;; esac
  [ "${_host##*:}" -le 65535 ] || bad_url 'a port of one is more than 65535'
  _endpoints="${_endpoints:+$_endpoints }${1%%://*}://$_host"
  case $_rest in
    *@*)
      _login=${_rest%@*}
      decode "${_login%%:*}"
      _name=$_decoded _decoded=''
      case $_login in *:*) decode "${_login#*:}" ;; esac
      login "$_name" "$_decoded"
      ;;
  esac
}

# is_readable PATH
is_readable() { [ -r "$1" ] && [ ! -d "$1" ]; }

# file VARIABLE PATH OPTION: a file that curl is to read
file() {
  [ -n "$2" ] || return 0
  is_readable "$2" || bad "$1" "$2" 'the file cannot be read'
  _options="$_options$_nl$3 = \"$(printf '%s' "$2" | sed 's/[\\"]/\\&/g')\""
}

# plain_url VARIABLE TEXT: one that AWS has on a machine
plain_url() {
  matches "$2" 'http://(\[[0-9A-Fa-f:.]+]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~%:@-]*)*' ||
    bad "$1" "$2" 'expected http://host:port/path'
}

# read_registry: where etcd is, and how it is spoken to
read_registry() {
  _prefix=${REGISTRY_PREFIX:-/branchfront}
  matches "$_prefix" '(/[A-Za-z0-9._~%-]+)+' ||
    bad REGISTRY_PREFIX "$_prefix" 'it should look like /branchfront: begin with a slash, end without one'
  _options="silent${_nl}noproxy = *${_nl}connect-timeout = 2${_nl}write-out = \"\\n@%{http_code}@%{local_ip}\\n\""
  file REGISTRY_CA "${REGISTRY_CA-}" cacert
  file REGISTRY_CERT "${REGISTRY_CERT-}" cert
  file REGISTRY_KEY "${REGISTRY_KEY-}" key
  [ "${REGISTRY_CERT:+1}" = "${REGISTRY_KEY:+1}" ] ||
    problem 'REGISTRY_CERT and REGISTRY_KEY go together; one of them is not set'
  _given=${REGISTRY_PASSWORD-}
  if [ -n "${REGISTRY_PASSWORD_FILE-}" ]; then
    [ -z "$_given" ] || problem 'REGISTRY_PASSWORD and REGISTRY_PASSWORD_FILE are both set; set one of them'
    if is_readable "$REGISTRY_PASSWORD_FILE"; then
      # a last line without an end is one as well
      IFS= read -r _given <"$REGISTRY_PASSWORD_FILE" || :
    else
      bad REGISTRY_PASSWORD_FILE "$REGISTRY_PASSWORD_FILE" 'the file cannot be read'
    fi
  fi
  _endpoints='' _user='' _password='' _count=0
  _urls=$(printf '%s' "$REGISTRY_URL" | tr ',\t\n' '   ')
  for _url in $_urls; do
    _count=$((_count + 1))
    endpoint "$_url"
  done
  [ "$_count" -gt 0 ] || problem 'REGISTRY_URL has no endpoint in it; expected http://host:port'
  [ -z "${REGISTRY_USER-}$_given" ] || login "${REGISTRY_USER-}" "$_given"
  [ -z "$_password" ] || [ -n "$_user" ] || problem 'REGISTRY_PASSWORD is set without REGISTRY_USER'
  json "$_user" && _user=$_json
  json "$_password" && _password=$_json
}

# read_settings: everything else; ends the program where something is missing or bad
read_settings() {
  _problems=
  for _tool in curl base64 date grep od sed sha256sum sleep tr; do
    command -v "$_tool" >/dev/null || problem "$_tool is not in this image; install it"
  done
  sleep 0.01 2>/dev/null || problem 'sleep takes no fractions of seconds in this image; install coreutils'
  [ -z "$_problems" ] || refuse
  read_registry
  _branch=${NAME:-${BRANCH-}}
  name 'NAME (or BRANCH)' "$_branch" 'the branch' && _branch_key=$_encoded
  if name SERVICE "${SERVICE-}" 'such as web'; then
    _service_key=$_encoded
    slug "$SERVICE"
    _service_slug=$_slug
    if [ -z "$_slug" ]; then
      bad SERVICE "$SERVICE" 'it has no letter a-z and no digit, so no host name can be made of it'
    elif [ ${#_slug} -gt 40 ]; then
      bad SERVICE "$SERVICE" 'it is longer than 40 characters as part of a host name; give it a shorter name'
    fi
  fi
  _default=${DEFAULT_SERVICE:-web}
  [ -n "${PORT-}" ] || problem 'PORT is not set: the port that the service listens on'
  whole PORT "${PORT:-1}" 1 65535 'a port'
  _port=$_whole
  whole HOST_PORT "${HOST_PORT:-$_port}" 1 65535 'a port'
  _host_port=$_whole
  _own_ip=${IP-}
  [ -z "$_own_ip" ] || is_ip "$_own_ip" || bad IP "$_own_ip" 'it is no IP address'
  _agent_url=${ECS_CONTAINER_METADATA_URI_V4-} _ec2_url=${AWS_EC2_METADATA_SERVICE_ENDPOINT:-http://169.254.169.254}
  [ -z "$_agent_url" ] || plain_url ECS_CONTAINER_METADATA_URI_V4 "$_agent_url"
  plain_url AWS_EC2_METADATA_SERVICE_ENDPOINT "$_ec2_url"
  _agent_url=${_agent_url%/} _ec2_url=${_ec2_url%/}
  case ${AWS_EC2_METADATA_DISABLED-} in [Tt][Rr][Uu][Ee]) _ec2_url='' ;; esac
  whole TTL "${TTL:-15}" 2 86400 'a whole number of seconds'
  _ttl=$_whole _third=$((_whole * 100 / 3))
  hundredths DRAIN "${DRAIN:-2}"
  _drain=$_hundredths
  hundredths RELEASE_TIMEOUT "${RELEASE_TIMEOUT:-10}"
  _release_timeout=$_hundredths
  hundredths HEALTH_TIMEOUT "${HEALTH_TIMEOUT:-2}"
  [ "$_hundredths" -ge 10 ] || bad HEALTH_TIMEOUT "$HEALTH_TIMEOUT" 'expected at least 0.1 seconds'
  # while the service is asked, the lease is not refreshed
  [ "$_hundredths" -le "$_third" ] || _hundredths=$_third
  seconds "$_hundredths"
  _health_timeout=$_seconds
  [ -z "${HEALTH_PATH-}" ] || matches "$HEALTH_PATH" '/[!"$-~]*' ||
    bad HEALTH_PATH "$HEALTH_PATH" 'expected a path such as /healthz, as it stands in a request'
  case ${HEALTH_TCP:-on} in
    on | yes | true | 1) _ask=${HEALTH_PATH:+path} _ask=${_ask:-port} ;;
    off | no | false | 0) _ask=${HEALTH_PATH:+path} ;;
    *) bad HEALTH_TCP "$HEALTH_TCP" 'expected on or off' ;;
  esac
  [ -z "$_problems" ] || refuse
}

refuse() {
  log "$_problems"
  exit 78
}

# name_instance NAME: one that no other container ever has
name_instance() {
  encode "$1"
  _key=$(b64 "$_prefix/routes/$_branch_key/$_service_key/$_encoded")
}

# name_keys: what does not change as long as we run
name_keys() {
  read -r _host </proc/sys/kernel/hostname
  name_instance "$(printf '%.64s' "${_host:-host}")-$(od -An -N6 -tx1 /dev/urandom | tr -d ' \n')"
  _claim_key=$(b64 "$_prefix/claims/$_branch_key/$_service_key")
  # 0 comes after the slash
  _all_claims="{\"key\":\"$(b64 "$_prefix/claims/")\",\"range_end\":\"$(b64 "$_prefix/claims0")\"}"
  _all_frontends="{\"key\":\"$(b64 "$_prefix/frontends/")\",\"range_end\":\"$(b64 "$_prefix/frontends0")\"}"
  _digits=$(printf '%s' "$_branch" | sha256sum)
  slug "$_branch"
  _stem=${_slug:-b-$(printf '%.6s' "$_digits")}
  _hex_port=$(printf '%04X' "$_port")
  _seed=$((0x$(od -An -N2 -tx1 /dev/urandom | tr -d ' \n') + 1))
}

# allot MOST PARTS: hundredths of a second for one of so many calls until $_until, in $_limit
allot() {
  _limit=$1
  if [ -n "$_until" ]; then
    now
    [ $(((_until - _now) / $2)) -ge "$1" ] || _limit=$(((_until - _now) / $2))
  fi
}

# ---- ECS: its agent knows how our container is reached, and EC2 the ip of an instance

# fetch METHOD URL [HEADER]: ask somebody on this machine, for $_document; else why not is in $_trouble
fetch() {
  allot 100 1
  _status=28 _answer=
  if [ "$_limit" -gt 0 ]; then
    seconds "$_limit"
    # a container has some 2 kB, and labels of its own choice
    _answer=$(printf '%s\n' "request = $1" "url = $2" "${3:+header = \"$3\"}" silent globoff 'noproxy = *' \
      "max-time = $_seconds" 'max-filesize = 131072' 'write-out = "\n@%{http_code}@%{local_ip}"' | curl -q -K -)
    _status=$?
  fi
  _document=${_answer%"$_nl@"*} _code=${_answer##*"$_nl@"}
  _document=${_document%"$_nl"}
  case $_status:$_code in
    0:200@*) return 0 ;;
    0:403@*) _trouble='answered 403: metadata is turned off for this instance (HttpEndpoint), or refused to us' ;;
    0:404@*) _trouble='answered 404: it knows of no such thing; is the URL right?' ;;
    0:429@*) _trouble='answered 429: the tasks of this instance ask too often together' ;;
    0:*) _trouble="answered ${_code%@*}" ;;
    28:) _trouble='not asked yet' ;;
    28:000@) _trouble='no connection within a second; something drops it' ;;
    28:*) _trouble='no answer within a second' ;;
    *) _trouble="no answer (curl's error $_status)" ;;
  esac
  _trouble="$1 $2: $_trouble"
  return 1
}

# plain: the JSON on stdin on one line, without blanks; in its texts is nothing left that looks like structure
plain() {
  # every second piece between quotes is a text
  LC_ALL=C tr -c '!-~' ' ' | sed 's/\\./?/g' | tr '"' '\n' | sed 's/ //g;n;s/[][{}, ]/?/g' | tr '\n' '"'
}

# part REGEX: what its parentheses match in $_document, in $_part; empty if nothing does
part() { _part=$(printf '%s\n' "$_document" | sed -n "s!.*$1.*!\\1!p"); }

# ask_agent: how our container is reached, in $_network, and the ip or the port that the agent knows
ask_agent() {
  fetch GET "$_agent_url" || return 1
  _document=$(printf '%s' "$_document" | plain)
  _trouble="GET $_agent_url was answered with what is no document of a container"
  case $_document in '{'*'"DockerId":"'*) ;; *) return 1 ;; esac
  part '"Labels":{[^}]*"com\.amazonaws\.ecs\.task-arn":"[^"]*/\([A-Za-z0-9-]*\)"'
  _task=$_part
  part '"Labels":{[^}]*"com\.amazonaws\.ecs\.container-name":"\([A-Za-z0-9_-]*\)"'
  # later the other shell would not know of it
  [ -z "$_until" ] || [ -z "$_task" ] || [ -z "$_part" ] || name_instance "$_task-$(printf '%s' "$_part" | tr - _)"
  part '"Networks":\[{[^}]*"NetworkMode":"\([A-Za-z0-9_.-]*\)"'
  _mode=$_part
  case $_mode in
    '') _trouble="the agent does not know the task's network yet" && return 1 ;;
    none)
      _verdict=denied _trouble='the task has network mode none, so nobody reaches it; choose another'
      return 1
      ;;
    host) ;;
    awsvpc)
      part '"Networks":\[{[^}]*"IPv4Addresses":\["\([0-9.]*\)"'
      [ -n "$_part" ] || part '"Networks":\[{[^}]*"IPv6Addresses":\["\([0-9A-Fa-f:.]*\)"'
      _trouble="the agent does not know the task's ip yet"
      [ -n "$_own_ip" ] || { is_ip "$_part" && _own_ip=$_part; } || return 1
      ;;
    *)
      part '"Ports":\[\([^]]*\)]'
      # Docker maps a port for IPv4 and for IPv6, to two that may differ: one a line, and those of IPv6 are left out
      _part=$(printf '%s' "$_part" | tr '}' '\n' | sed -n "s/\$/,/;/\"Protocol\":\"[^t]/d;/\"HostIp\":\"[^\"]*:/d
        /\"ContainerPort\":$_port,/s/.*\"HostPort\":\([1-9][0-9]\{0,4\}\),.*/\1/p")
      _part=${_part%%"$_nl"*}
      _trouble="ECS does not know yet which port of the host leads to port $_port; is there a port mapping with"
      _trouble="$_trouble containerPort $_port in the task definition?"
      [ -n "${HOST_PORT-}" ] || { [ "${_part:-65536}" -le 65535 ] && _host_port=$_part; } || return 1
      part '[{,]"RestartCount":\([0-9]\{1,9\}\)[,}]'
      # the agent notes ports once, and Docker chooses another one for a container that is started again
      if [ -z "${HOST_PORT-}" ] && [ "${_part:-0}" -gt 0 ] && [ "$_host_port" -ge 32768 ]; then
        _verdict=denied
        _trouble='this container was restarted in place, and ECS still tells the port that it had before; take its'
        _trouble="$_trouble restartPolicy away, so that ECS starts a new task, or map a fixed hostPort below 32768"
        return 1
      fi
      ;;
  esac
  _network=$_mode
}

# ask_host: the ip of the instance that we are reached through, in $_own_ip
ask_host() {
  [ -z "$_own_ip" ] || return 0
  if is_readable "${ECS_CONTAINER_METADATA_FILE-}"; then
    _document=$(plain <"$ECS_CONTAINER_METADATA_FILE")
    part '"HostPrivateIPv4Address":"\([0-9.]*\)"'
    is_ip "$_part" && _own_ip=$_part && return 0
  fi
  _tries=$((_tries + 1))
  if [ -z "$_ec2_url" ]; then
    _trouble='AWS_EC2_METADATA_DISABLED is set'
  elif fetch PUT "$_ec2_url/latest/api/token" 'X-aws-ec2-metadata-token-ttl-seconds: 60'; then
    _trouble="PUT $_ec2_url/latest/api/token gave no token"
    # into curl's settings goes nothing that would be read as more than a token
    matches "$_document" '[A-Za-z0-9._~+/=-]+' &&
      fetch GET "$_ec2_url/latest/meta-data/local-ipv4" "X-aws-ec2-metadata-token: $_document" &&
      { is_ip "$_document" && _own_ip=$_document && return 0 || _trouble="EC2 gave no ip of the instance"; }
  else
    case $_trouble in
      *'no answer within'*)
        _trouble="$_trouble; the hop limit of this instance may be 1, and an answer needs 2 to get into a container:"
        _trouble="$_trouble set HttpPutResponseHopLimit to 2 in the launch template"
        ;;
    esac
  fi
  # in the host's own network our interface will do
  [ "$_network" = host ] && { [ -z "$_ec2_url" ] || [ "$_tries" -ge 3 ]; } && return 0
  _trouble="port $_host_port of the instance leads here, and its ip is not known ($_trouble); make EC2's metadata reachable,"
  _trouble="$_trouble have ECS's agent write it into its file (ECS_ENABLE_CONTAINER_METADATA=true), or set IP"
  return 1
}

# locate: where we are reached, if ECS has to tell; as it does not change while we run, it is asked until it has
locate() {
  [ -z "$_is_located" ] || return 0
  _verdict=place
  if { [ -n "$_network" ] || ask_agent; } && ask_host; then
    _is_located=1
    return 0
  fi
  _seed=$((_seed * 75 % 65537))
  # in all a hundredth of what the agent takes of an instance: 4 at once, then 0.4 a second
  _ask_pause=$((_ask_backoff * (90 + _seed % 21) / 100))
  _ask_backoff=$((_ask_backoff < 125 ? _ask_backoff * 2 : 250))
  return 1
}

# ---- etcd

# requests PATH BODY [PATH BODY]: what curl is to do, for its stdin, where ps does not look
requests() {
  while :; do
    # what an answer has put into it must not be read as a setting of curl's
    case $2 in *[[:space:]]*) return 1 ;; esac
    printf '%s\n' "url = $_endpoint/v3/$1" "data-binary = $2" "max-time = $_seconds" "$_options" \
      "${_token:+header = \"Authorization: $_token\"}"
    [ $# -gt 2 ] || return 0
    shift 2
    echo next
  done
}

# send PATH BODY [PATH BODY]: ask $_endpoint, for $_answer; else what to do is in $_verdict, and why in $_trouble
send() {
  allot 200 "$_turn"
  _status=28 _answer=
  if [ "$_limit" -gt 0 ]; then
    seconds "$_limit"
    _answer=$(requests "$@" | curl -q -K -)
    _status=$?
  fi
  case $_status:$_answer in
    0:*"$_nl@"[!2]*) ;;
    0:*) _ip=${_answer##*@} && return 0 ;;
  esac
  case $_answer in
    *'invalid auth token'* | *'revision of auth store is old'* | *'revision in header is old'*) _verdict=login ;;
    *'user name is empty'*) _verdict=login ;;
    *'permission denied'* | *'authentication failed'* | *'CommonName of client'*) _verdict=denied ;;
    *'lease not found'*) _verdict=lease ;;
    *) _verdict=retry ;;
  esac
  case $_status in
    0)
      field message
      _trouble=$(printf '%.300s' "${_field:-HTTP ${_answer##*"$_nl@"}, is it etcd?}")
      ;;
    6) _trouble='its name cannot be resolved' ;;
    7) _trouble='it refuses connections' ;;
    28) _trouble='it does not answer' ;;
    35 | 51 | 53 | 54 | 58 | 59 | 60 | 66 | 77 | 83) _trouble="TLS or a certificate fails (curl's error $_status)" ;;
    *) _trouble="curl's error $_status" ;;
  esac
  _trouble="etcd at $_endpoint: $_trouble"
  return 1
}

# log_in: a token, where there is a user
log_in() {
  _token=
  send auth/authenticate "{\"name\":\"$_user\",\"password\":\"$_password\"}" ||
    case $_answer in *'authentication is not enabled'*) ;; *) return 1 ;; esac
  field token
  # into curl's settings goes nothing that would be read as more than a token
  matches "$_field" '[A-Za-z0-9._~+/=-]+' && _token=$_field
  _logged_in=1
}

# ask PATH BODY...: the same as send, logged in
ask() {
  for _ in 1 2 3; do
    [ -z "$_user" ] || [ -n "$_logged_in" ] || log_in || return 1
    send "$@" && return 0
    [ "$_verdict" = login ] || return 1
    _logged_in=
    if [ -z "$_user" ]; then
      _verdict=denied _trouble="etcd at $_endpoint wants a user and a password, and none is set"
      return 1
    fi
  done
  return 1
}

# call PATH BODY...: the same at one endpoint after the other; who failed comes last next time
call() {
  _turn=$_count
  while [ "$_turn" -gt 0 ]; do
    _endpoint=${_endpoints%% *}
    ask "$@" && return 0
    case $_verdict in denied | lease) return 1 ;; esac
    [ "$_count" = 1 ] || _endpoints="${_endpoints#* } $_endpoint"
    _turn=$((_turn - 1))
  done
  return 1
}

# values: those in $_answer, decoded
values() {
  # one a line: busybox stops at the padding within a line
  # shellcheck disable=SC2020 # each of these becomes a new line
  printf '%s' "$_answer" | tr '{},' '\n\n\n' | sed -n 's/^"value":"\(.*\)"$/\1/p' | base64 -d
}

# labels: those in the claims on stdin, one a line
labels() {
  # shellcheck disable=SC2020 # brackets, which tr itself may read as a class
  tr -d ' \t\r\n' | tr '\133\135' '\n\n' | sed -n '/"labels":$/{n;p;}' | tr , '\n' | tr -d '"'
}

# frontends REVISION: read what they report: $_late has those that serve something older
frontends() {
  call kv/range "$_all_frontends" || return 1
  _list=$_answer _late='' _first=1
  while :; do
    case $_list in *'"key":"'*) ;; *) return 0 ;; esac
    _list=${_list#*'"key":"'}
    _answer='"key":"'${_list}
    field key
    _id=$_field
    field value
    _answer=$(printf '%s' "$_field" | base64 -d)
    if [ -n "$_first" ]; then
      _first=
      field default_service
      _default=${_field:-web}
      field url
      _frontend_url=$_field
    fi
    # a number has no quotes; what follows in the record may repeat its name, and comes later
    _released=${_answer#*'"released":'}
    _released=${_released%%[!0-9]*}
    [ "${_released:-0}" -ge "$1" ] || _late="$_late $(printf '%s' "$_id" | base64 -d | sed 's/.*\///')"
  done
}

# ---- the registration

# forms SUFFIX: the labels that may be had, the one to try first in front
forms() {
  for _length in 0 6 12 24; do
    _ending=$1
    [ "$_length" = 0 ] || _ending=-$(printf '%.*s' "$_length" "$_digits")$1
    _room=$((63 - ${#_ending}))
    if [ "$_length" = 0 ]; then
      _label=$_stem
      [ ${#_stem} -le "$_room" ] || continue
    else
      [ "$_room" -gt 0 ] || continue
      _label=$(printf '%.*s' "$_room" "$_stem")
    fi
    _label=${_label%-}$_ending
    [ "$_label" = branchfront ] || printf '%s\n' "$_label"
  done
}

# is_free LABEL: nobody carries it, nor have we chosen it
is_free() { case "$_nl$_taken$_nl$_labels$_nl" in *"$_nl$1$_nl"*) return 1 ;; esac; }

# choose: a claim for labels that no standing claim carries, in $_claim
choose() {
  frontends 0 || return 1
  _long=$(forms "-$_service_slug")
  _short=
  [ "$SERVICE" != "$_default" ] || _short=$(forms '')
  _held=
  [ -z "$_claim" ] || _held=$(printf '%s' "$_claim" | base64 -d | labels)
  # in a process of its own: what ten thousand claims take is given back with it
  _taken=$(
    if call kv/range "$_all_claims"; then
      values | labels | grep -xF "$_long$_nl${_short:-$_long}$_nl${_held:-$_long}"
    else
      printf '!%s' "$_trouble"
    fi
  )
  case $_taken in !*) _verdict=retry _trouble=${_taken#!} && return 1 ;; esac
  # a claim that the registry lost is written again as it was
  _labels=
  for _form in $_held; do is_free "$_form" || _held=; done
  [ -z "$_held" ] || return 0
  for _kind in "$_long" "$_short"; do
    [ -n "$_kind" ] || continue
    for _form in $_kind ''; do
      is_free "$_form" && break
    done
    _verdict=retry _trouble="every form of the label ${_kind%%"$_nl"*} is carried by another claim; rename the branch"
    [ -n "$_form" ] || return 1
    _labels="$_labels${_labels:+$_nl}$_form"
  done
  _labels=$(printf '%s' "$_labels" | tr '\n' ,| sed 's/,/","/g')
  _claim=$(b64 "{\"version\":1,\"created\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",\"labels\":[\"$_labels\"]}")
}

# grant: a lease, and where we are as it has been asked for
grant() {
  call lease/grant "{\"TTL\":$_ttl}" || return 1
  field ID
  _lease=$_field
  _address=${_own_ip:-$_ip}
  case $_address in *:*) _address=[$_address] ;; esac
  _address=$_address:$_host_port
}

# record STATE: as it stands under our key, in $_value; who is starting says why it is no further
record() {
  _reason=
  if [ "$1" = starting ] && [ -n "$_health" ]; then
    json "$_health"
    _reason=",\"health\":\"$_json\""
  fi
  _value=$(b64 "{\"address\":\"$_address\",\"state\":\"$1\",\"registered_at\":\"$_since\",\"ttl\":$_ttl$_reason}")
  _put="{\"key\":\"$_key\",\"value\":\"$_value\",\"lease\":\"$_lease\"}"
}

# restate STATE: write it; its revision is in $_revision
restate() {
  record "$1"
  call kv/put "$_put" || return 1
  field revision
  _revision=$_field
}

# register: write our key, and the claim if there is none, at one revision
register() {
  [ -n "$_lease" ] || grant || return 1
  [ -n "$_since" ] || _since=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  record "$_state"
  for _ in 1 2 3 4 5; do
    call kv/range "{\"key\":\"$_claim_key\"}" || return 1
    field value
    if [ -n "$_field" ]; then
      _claim=$_field
      _then='' _result=GREATER
    else
      choose || return 1
      _then=",{\"request_put\":{\"key\":\"$_claim_key\",\"value\":\"$_claim\"}}" _result=EQUAL
    fi
    _if="{\"key\":\"$_claim_key\",\"target\":\"CREATE\",\"result\":\"$_result\",\"create_revision\":\"0\"}"
    call kv/txn "{\"compare\":[$_if],\"success\":[{\"request_put\":$_put}$_then]}" || return 1
    case $_answer in
      *'"succeeded":true'*)
        field revision
        _revision=$_field _registered=1
        log "registered $_address as $_state"
        plan_refresh
        return 0
        ;;
    esac
  done
  _verdict=retry _trouble='the claim changed 5 times while it was read'
  return 1
}

# plan_refresh: a third of the lease from now; those who started together drift apart
plan_refresh() {
  now
  _seed=$((_seed * 75 % 65537))
  _refresh_at=$((_now + _third * (90 + _seed % 21) / 100))
}

# refresh: the lease, and see that our key and the claim are as they should be
refresh() {
  record "$_state"
  _if="{\"key\":\"$_key\",\"target\":\"LEASE\",\"result\":\"EQUAL\",\"lease\":\"$_lease\"}"
  _if="$_if,{\"key\":\"$_key\",\"target\":\"VALUE\",\"result\":\"EQUAL\",\"value\":\"$_value\"}"
  _if="$_if,{\"key\":\"$_claim_key\",\"target\":\"CREATE\",\"result\":\"GREATER\",\"create_revision\":\"0\"}"
  call lease/keepalive "{\"ID\":\"$_lease\"}" kv/txn "{\"compare\":[$_if]}" || return 1
  field TTL
  _verdict=lease _trouble='the lease is gone'
  [ "${_field:-0}" != 0 ] || return 1
  plan_refresh
  case $_answer in *'"succeeded":true'*) return 0 ;; esac
  log 'somebody removed our key or changed it; putting it back'
  _registered=
  register
}

# ---- the keeper: a second shell that keeps the registration alive, as long as the first one lives

keep() {
  _nap=
  trap 'kill $_nap 2>/dev/null; exit' TERM
  # they may be meant for the whole group
  trap '' HUP USR1 USR2
  _backoff=5 _health_pause=10 _unhealthy_since='' _noted_at='' _pause=1
  while read -r _stat </proc/self/stat; do
    # the parent stands behind the name and the state
    # shellcheck disable=SC2086 # to be split into words
    set -- ${_stat##*) }
    [ "$2" = "$$" ] || exit
    step
    seconds "$_pause"
    sleep "$_seconds" 2>/dev/null &
    _nap=$!
    wait "$_nap"
    _nap=
  done
}

# step: what is to be done next; $_pause says when to come back
step() {
  now
  if [ -z "$_registered" ]; then
    locate && register || { fail && return; }
  elif [ "$_now" -ge "$_refresh_at" ]; then
    refresh || { fail && return; }
  fi
  if [ "$_state" = starting ]; then
    if is_healthy; then
      restate ready || { fail && return; }
      _state=ready
      log "$_address is ready"
    else
      note_health || { fail && return; }
    fi
  fi
  [ -z "$_told" ] || log 'the registry takes us again'
  _told='' _backoff=5
  now
  _pause=$((_refresh_at - _now))
  if [ "$_state" = starting ]; then
    [ "$_pause" -le "$_health_pause" ] || _pause=$_health_pause
    _health_pause=$((_health_pause < 50 ? _health_pause * 2 : 100))
  fi
  [ "$_pause" -ge 1 ] || _pause=1
}

# fail: what did not work is told once and tried again, after at most a second; where we were refused, after 30
fail() {
  if [ "$_verdict" = place ]; then
    case $_told_place in
      *"$_trouble"*) ;;
      *) log "$_trouble; trying on" && _told_place="$_told_place $_trouble" ;;
    esac
    _pause=$_ask_pause
    return
  fi
  if [ "$_verdict" = lease ]; then
    log 'the lease is gone; registering again'
    _lease='' _registered=''
  elif [ -z "$_told" ]; then
    log "$_trouble; trying on"
    _told=1
  fi
  _seed=$((_seed * 75 % 65537))
  _pause=$((_backoff * (_seed % 100) / 100 + 1))
  _backoff=$((_backoff < 50 ? _backoff * 2 : 100))
  [ "$_verdict" != denied ] || _pause=3000
}

# look OPTION... URL: ask the service, as a plain client would
look() { curl -q -s -g -o /dev/null -A register.sh --noproxy '*' --path-as-is -m "$_health_timeout" "$@"; }

# is_healthy: whether it may get requests
is_healthy() {
  case $_ask in
    path)
      _said=$(look -w '%{http_code}' "http://$_address$HEALTH_PATH")
      case $_said in [23]??) return 0 ;; esac
      # what stands behind a question mark may be a secret
      _said="GET http://$_address${HEALTH_PATH%%\?*} answered $_said"
      # what curl says where nothing came
      case $_said in *' answered 000') _said="${_said% answered 000} was not answered" ;; esac
      ;;
    port)
      # zero as long as there is no connection
      case $(look -I -w '%{time_connect}' "http://$_address/") in *[1-9]*) return 0 ;; esac
      _said="$_address takes no connection"
      ;;
    *) return 0 ;;
  esac
  now
  _unhealthy_since=${_unhealthy_since:-$_now} _noted_at=${_noted_at:-$_now}
  if [ "$_unhealthy_since" -gt 0 ] && [ $((_now - _unhealthy_since)) -ge 1000 ]; then
    log "not healthy for 10 s: $_said; no requests are sent here (does it listen on PORT, on 0.0.0.0?)"
    # said once
    _unhealthy_since=0
  fi
  return 1
}

# note_health: have what it said last stand in the registry, once 10 s are over, and again every 10 s if it changes
note_health() {
  _said=$(printf '%.200s' "$_said")
  [ "$_said" != "$_health" ] && [ $((_now - _noted_at)) -ge 1000 ] || return 0
  _before=$_health _health=$_said
  restate starting || { _health=$_before && return 1; }
  _noted_at=$_now
}

# ---- the way in and the way out

# is_waited_for: whether there is still a reason to wait for others
is_waited_for() { [ -z "$_hurry" ] && { [ -z "$_command" ] || kill -0 "$_command" 2>/dev/null; }; }

# await_release HUNDREDTHS: until no frontend serves anything older than $_revision; 1 not in time, 2 not known
await_release() {
  now
  _give_up_at=$((_now + $1))
  while is_waited_for; do
    _until=$((_now + 200))
    frontends "$_revision" || return 2
    [ -n "$_late" ] || return 0
    now
    [ "$_now" -lt "$_give_up_at" ] || return 1
    sleep 0.05
  done
  return 1
}

# begin: register as starting, and let frontends let go of who had our address before
begin() {
  now
  _until=$((_now + 100))
  until locate; do
    now
    [ "$_verdict" = place ] && [ -z "$_hurry" ] && [ $((_now + _ask_pause)) -lt "$_until" ] || break
    seconds "$_ask_pause"
    sleep "$_seconds"
  done
  if [ -z "$_is_located" ] || ! register; then
    log "$_trouble; the command starts all the same"
    case $_verdict in place) _told_place=$_trouble ;; *) _told=1 ;; esac
    [ "$_verdict" != lease ] || _lease=
  else
    await_release 100
    case $?:$_hurry in
      1:) log "not let go of $_address in time by frontend$_late; not waiting any longer" ;;
      2:) log "$_trouble; not waiting for frontends" ;;
    esac
    if [ -n "$_frontend_url" ]; then
      _label=$(printf '%s' "$_claim" | base64 -d | labels | sed -n '$p')
      log "reached at ${_frontend_url%%://*}://$_label.${_frontend_url#*://}"
    fi
  fi
  _until=
}

# stop_keeper: a call of its may be under way, and must not be carried out after ours
stop_keeper() {
  now
  _give_up_at=$((_now + 30))
  # again and again: a shell that was just born forgets a signal together with the traps of its parent
  while [ -n "$_keeper" ] && kill "$_keeper" 2>/dev/null && [ "$_now" -lt "$_give_up_at" ]; do
    sleep 0.02
    now
  done
  _keeper=
}

# recall: our key as it stands; the keeper may have it on another lease by now
recall() {
  call kv/range "{\"key\":\"$_key\"}" || return 1
  field lease
  _lease=$_field
  field value
  _answer=$(printf '%s' "$_field" | base64 -d)
  field address
  _address=${_field:-$_address}
  field registered_at
  _since=${_field:-$_since}
}

# drain: have frontends let go, and requests in flight end; gives up in less than a second without the registry
drain() {
  now
  _began_at=$_now _until=$((_now + 85))
  stop_keeper
  if ! recall || { [ -n "$_address" ] && ! { { [ -n "$_lease" ] || grant; } && restate draining; }; }; then
    log "$_trouble; not waiting for it, the key goes when its lease ends"
    _lease=
    return
  fi
  [ -n "$_address" ] && is_waited_for || return 0
  since "$_began_at"
  log "draining was written after $_seconds s; waiting for frontends to let go"
  await_release "$_release_timeout"
  _is_late=$?
  since "$_began_at"
  case $_is_late:$_hurry in
    0:) log "all frontends have let go after $_seconds s" ;;
    1:) log "not let go in time by frontend$_late, after $_seconds s" ;;
    2:) log "$_trouble; not waiting for frontends" ;;
  esac
  now
  _give_up_at=$((_now + _drain))
  while is_waited_for; do
    is_idle && log 'no connection is left' && return
    now
    seconds "$_drain"
    [ "$_now" -lt "$_give_up_at" ] || { log "requests in flight had $_seconds s" && return; }
    sleep 0.05
  done
}

# is_idle: whether no connection to PORT is open, by the kernel's own tables
is_idle() {
  ! grep -qs "^ *[0-9]*: [0-9A-F]*:$_hex_port [0-9A-F]*:[0-9A-F]* 01 " /proc/net/tcp /proc/net/tcp6
}

# deregister: our key goes with its lease
deregister() {
  [ -n "$_lease" ] || return 0
  now
  _until=$((_now + 80))
  if call lease/revoke "{\"ID\":\"$_lease\"}"; then
    since "$_began_at"
    log "deregistered after $_seconds s in all"
  else
    log "$_trouble; the key goes when its lease ends"
  fi
  _lease=
}

# deliver SIGNAL: to COMMAND; TERM in place of one that it was started to ignore
deliver() {
  case $1 in INT) _bit=2 ;; QUIT) _bit=4 ;; *) _bit=0 ;; esac
  _signal=$1
  while read -r _name _mask; do
    case $_name in SigIgn:) [ $((0x${_mask#"${_mask%?}"} & _bit)) = 0 ] || _signal=TERM ;; esac
  done 2>/dev/null <"/proc/$_command/status"
  kill -s "$_signal" "$_command" 2>/dev/null
}

# pass_on SIGNAL
pass_on() {
  _caught=$((_caught + 1))
  if [ -n "$_command" ]; then
    kill -s "$1" "$_command" 2>/dev/null
  else
    _early="$_early $1"
  fi
}

# end SIGNAL: drain first; the second one is passed on at once
end() {
  _caught=$((_caught + 1))
  if [ -z "$_command" ]; then
    _early="$_early $1" _ending=$1 _hurry=1
  elif [ -n "$_leaving" ]; then
    log "SIG$1: not waiting for anybody any more"
    _hurry=1
    deliver "$1"
  else
    _leaving=1
    log "SIG$1: draining first"
    drain
    if [ -z "$_hurry" ]; then
      deliver "$1"
      log 'the command was told to end'
    fi
    deregister
  fi
}

# take_out: at once
take_out() {
  _leaving=1 _hurry=1
  drain
  deregister
}

# ---- the program

case ${1-} in
  --) shift ;;
  --help)
    echo 'usage: register.sh [--] COMMAND [ARG]...   (everything else is a variable: see the head of the file)'
    exit 0
    ;;
esac
case ${1--} in
  -*)
    log 'usage: register.sh [--] COMMAND [ARG]...'
    exit 2
    ;;
esac
if [ -z "${REGISTRY_URL-}" ]; then
  log 'REGISTRY_URL is not set, so the command runs unregistered'
  exec "$@"
fi
read_settings
name_keys

_lease='' _address='' _since='' _claim='' _registered='' _state=starting _health='' _told='' _token='' _logged_in=''
_network='' _told_place='' _tries=0 _ask_backoff=25
_is_located=1
[ -z "$_agent_url" ] || [ -n "${IP:+${HOST_PORT-}}" ] || _is_located=
_until='' _command='' _keeper='' _hurry='' _leaving='' _ending='' _early='' _caught=0 _frontend_url='' _late=''
for _signal in HUP USR1 USR2 WINCH CONT; do
  # shellcheck disable=SC2064 # it stands for itself
  trap "pass_on $_signal" "$_signal"
done
for _signal in TERM INT QUIT; do
  # shellcheck disable=SC2064
  trap "end $_signal" "$_signal"
done
# dash and busybox let nobody undo that INT and QUIT are ignored in what they start beside them; env can
_env=
case $1 in *=*) ;; *) env --default-signal=INT,QUIT true 2>/dev/null && _env=1 ;; esac

begin
if [ -n "$_ending" ]; then
  log "SIG$_ending: the command is not started"
  take_out
  case $_ending in TERM) exit 143 ;; INT) exit 130 ;; *) exit 131 ;; esac
fi
# a shell gives /dev/null to what it starts beside itself
[ -e /proc/self/fd/0 ] || exec </dev/null
exec 9<&0
(
  trap - INT QUIT
  exec ${_env:+env --default-signal=INT,QUIT} "$@"
) <&9 9<&- &
_command=$!
exec 9<&-
keep </dev/null >/dev/null &
_keeper=$!
_hurry=
for _signal in $_early; do
  case $_signal in TERM | INT | QUIT) end "$_signal" ;; *) pass_on "$_signal" ;; esac
done
_before=
while
  _seen=$_caught
  wait "$_command" 2>/dev/null
  _code=$?
  [ "$_caught" != "$_seen" ]
do
  # that may have been the signal's number, or COMMAND's own code
  # one that still runs has not been told of yet
  _before=$_code
  kill -0 "$_command" 2>/dev/null && _before=
done
# 127: it had been told already
[ "$_code" != 127 ] || _code=${_before:-127}
_command=
if [ -z "$_leaving" ]; then
  log "the command has ended with $_code"
  take_out
fi
exit "$_code"
