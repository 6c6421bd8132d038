#!/bin/sh
# Makes what etcd shows its clients and its sisters: an authority, and one certificate for all the names given.
#
#   aws/certificates.sh FOLDER NAME...
#
# FOLDER gets ca.pem (public: whoever speaks to etcd needs it), etcd.pem (certificate and key in one file: a secret) and ca.key
# (needed for the next certificate alone: keep it where no machine of yours can read it). Run again, it makes a new
# certificate by the same authority.
set -eu
umask 077

if [ $# -lt 2 ]; then
    echo "certificates.sh: FOLDER and at least one NAME are needed, such as: pki etcd-1.branchfront.internal" >&2
    exit 64
fi
folder=$1
shift
mkdir -p "$folder"
cd "$folder"

if [ ! -e ca.key ]; then
    # 10 years: to change an authority, all who trust it have to be told
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "/O=branchfront/CN=branchfront registry" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -keyout ca.key -out ca.pem 2>/dev/null
fi

names=
for name in "$@"; do
    case $name in
    *[!0-9.]*) names="$names,DNS:$name" ;;
    *) names="$names,IP:$name" ;;
    esac
done
# No CommonName: etcd's gateway shows this certificate to etcd itself, which refuses those that have one. It serves members
# as clients of each other as well.
printf '%s\n' "subjectAltName=${names#,}" "extendedKeyUsage=serverAuth,clientAuth" "keyUsage=critical,digitalSignature" \
    "basicConstraints=CA:FALSE" >etcd.ext
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/O=branchfront" -keyout etcd.key -out etcd.csr \
    2>/dev/null
# 2 years: put the day of its end into a calendar
openssl x509 -req -in etcd.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 730 -extfile etcd.ext -out etcd.crt 2>/dev/null
cat etcd.crt etcd.key >etcd.pem
openssl x509 -in etcd.crt -noout -checkend 0 >/dev/null
echo "$(openssl x509 -in etcd.crt -noout -enddate | cut -d= -f2) is the end of the certificate for: $*"
rm etcd.crt etcd.key etcd.csr etcd.ext
