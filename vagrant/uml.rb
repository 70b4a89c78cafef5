# Vagrant's provider `uml`: the machines of `beowulf lab`, for `vagrant up --provider=uml`.
#
# It keeps nothing of its own: every state is asked of `beowulf lab status`, so a lab that was
# changed with `beowulf lab` is seen as it is.

require "json"
require "vagrant"
require "vagrant/util/subprocess"
require "vagrant/util/which"

require_relative "uml/actions"
require_relative "uml/command"
require_relative "uml/config"
require_relative "uml/machines"
require_relative "uml/provider"

module BeowulfLab
  # Say whether KVM works here: the device may be there and still refuse to be opened.
  def self.virtualization?
    File.open("/dev/kvm", File::RDWR) { true }
  rescue SystemCallError
    false
  end

  class Plugin < Vagrant.plugin("2")
    name "uml"
    description "Debian in User-Mode Linux, through `beowulf lab`: needs no virtualization"

    config(:uml, :provider) { Config }
    provider(:uml, box_optional: true, parallel: true, defaultable: false) { Provider }
  end
end
